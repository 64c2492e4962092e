"""How long until a plan or the help is there: `python -m benchmarks.start [repeats=5]`.

CPU seconds of the whole process (its user and system time), medians. What takes them is shown by
`python -X importtime bench.py task=plan suite=shapes_1step`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Row, publish

ROOT = Path(__file__).resolve().parent.parent
MOST = 1.5
COMMANDS = (["--help"], ["task=plan", "suite=shapes_1step"], ["task=plan", "suite=shapes_1to8"])


def main(arguments: list[str]) -> None:
    """Print and write the rows."""
    given = dict(word.split("=", 1) for word in arguments)
    rows = []
    for words in COMMANDS:
        runs = [once(words) for _ in range(int(given.get("repeats", 5)))]
        cpu, wall = (statistics.median(values) for values in zip(*runs, strict=True))
        rows.append(Row(" ".join(words), cpu, "asked: at most", MOST, f"{wall:.2f} s of wall time"))
    publish("start", rows)


def once(words: list[str]) -> tuple[float, float]:
    """(CPU, wall) seconds of one command, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "bench.py"), *words], cwd=folder, stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    if status != 0:
        raise SystemExit(f"failed: {' '.join(words)}")
    return used.ru_utime + used.ru_stime, wall


if __name__ == "__main__":
    main(sys.argv[1:])
