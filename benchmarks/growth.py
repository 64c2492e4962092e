"""Time and memory of a run as it grows: `python -m benchmarks.growth [n=1000,2000,5000,10000]
[contestants=1,2,4,8] [suite=shapes_1step]`.

Each run is a process of its own with nothing cached. The contestants are one LoRA under several
names (another `eta`, which LCM's scheduler ignores, makes each another contestant). Seconds are of
generating and scoring, per 1,000 images of a contestant; "peer" is the smallest run of the table,
so a ratio of 1 is growth in a straight line. Memory is the largest that the process held.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Row, publish

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Run:
    """seconds: of generating and scoring 1,000 images of a contestant.  peak: MiB."""

    seconds: float
    peak: float


def main(arguments: list[str]) -> None:
    """First the images grow, with the fewest contestants, then the contestants."""
    given = dict(word.split("=", 1) for word in arguments)
    sizes = [int(n) for n in given.get("n", "1000,2000,5000,10000").split(",")]
    counts = [int(n) for n in given.get("contestants", "1,2,4,8").split(",")]
    grown = [(n, counts[0]) for n in sizes] + [(sizes[0], count) for count in counts[1:]]
    runs = {size: run(given.get("suite", "shapes_1step"), *size) for size in grown}
    least = runs[grown[0]]
    rows = [
        Row(f"1,000 images of {n:,} x {count}", runs[n, count].seconds,
            f"of {sizes[0]:,} x {counts[0]}", least.seconds,
            f"peak {runs[n, count].peak:,.0f} MiB, {runs[n, count].peak / least.peak:.2f} times")
        for n, count in grown
    ]  # fmt: skip
    publish("growth", rows)


def run(suite: str, n: int, count: int) -> Run:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "bench.py"), *words(suite, n, count, folder)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"failed: {' '.join(command)}")
        spent = json.loads((Path(folder) / "run/result.json").read_bytes())["seconds"]
    per_thousand = (spent["generate"] + spent["score"]) / (n * count) * 1000
    return Run(per_thousand, used.ru_maxrss / 1024)


def words(suite: str, n: int, count: int, folder: str) -> list[str]:
    """The command line: the suite's contestants go, copies of one come."""
    from bench.cli.words import read

    whole = read([f"suite={suite}"]).suite
    assert whole is not None
    gone = [f"~contestants.{key}" for key in dict.fromkeys(c.key for c in whole.contestants)]
    made = [
        f"+contestants.copy{i}={{lora: shapes/lcm, like: lcm, eta: 0.0{i}}}" for i in range(count)
    ]
    return [f"suite={suite}", f"prompts.n={n}", "precomputed=false", *gone, *made,
            f"out={folder}/run", f"cache={folder}/cache"]  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
