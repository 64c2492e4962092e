"""Seconds until a plan or the help is printed: `python -m benchmarks.start [repeats=5]`.

CPU seconds of the whole process (its user and system time), medians, beside what an import of torch
takes on the same machine: none of these commands imports it. What takes them is shown by
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
TORCH = ["-c", "import torch"]
PACKAGE = ["-c", "import bench"]
MOST_PACKAGE = 0.3  # CPU seconds
COMMANDS = (["--help"], ["task=plan", "suite=shapes_1step"], ["task=plan", "suite=shapes_1to8"])


def main(arguments: list[str]) -> None:
    """Print and write the rows."""
    given = dict(word.split("=", 1) for word in arguments)
    repeats = int(given.get("repeats", 5))
    peer, _ = medians(TORCH, repeats)
    rows = []
    for words in COMMANDS:
        cpu, wall = medians([str(ROOT / "bench.py"), *words], repeats)
        note = f"CPU seconds; {wall:.2f} s of wall time"
        rows.append(Row(" ".join(words), cpu, "import torch", peer, note))
    cpu, wall = medians(PACKAGE, repeats)
    bare, _ = medians(["-c", "pass"], repeats)
    note = f"CPU seconds; {bare:.2f} of them Python's own start; {wall:.2f} s of wall time"
    rows.append(Row("import bench", cpu, "asked: at most", MOST_PACKAGE, note))
    publish("start", rows)


def medians(words: list[str], repeats: int) -> tuple[float, float]:
    """Median (CPU, wall) seconds of a command."""
    runs = [once(words) for _ in range(repeats)]
    cpu, wall = (statistics.median(values) for values in zip(*runs, strict=True))
    return cpu, wall


def once(words: list[str]) -> tuple[float, float]:
    """(CPU, wall) seconds of one command of Python's, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    if status != 0:
        raise SystemExit(f"failed: {' '.join(words)}")
    return used.ru_utime + used.ru_stime, wall


if __name__ == "__main__":
    main(sys.argv[1:])
