"""Wall time of a run against the pure time of its networks: `python -m benchmarks.overhead
[suite=shapes_1step] [prompts.n=10000] [key=value ...]`.

Everything is made anew, in a cache of its own, and nothing is timed in turns. "Generating and
scoring" are the run's own seconds, with the loading of weights; "fixed" is all the rest of the
process: imports, plan, report. With the default 10,000 prompts the networks run for more than five
minutes of two cores.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

BEGAN = time.perf_counter()
MOST_OVERHEAD, MOST_FIXED = 1.10, 15.0


def main(arguments: list[str]) -> None:
    """Run the suite, print and write the rows."""
    from benchmarks.measure import Row, publish

    began = BEGAN if __name__ == "__main__" else time.perf_counter()
    given = dict(word.split("=", 1) for word in arguments)
    words = {"suite": "shapes_1step", "prompts.n": "10000", "precomputed": "false",
             "rounds": "0", **given}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        seconds, networks = run(Path(folder), [f"{k}={v}" for k, v in words.items()])
        fixed = time.perf_counter() - began - seconds  # before the folder is removed again
    what = f"{words['suite']}, {words['prompts.n']} prompts"
    overhead = seconds / networks
    publish("overhead", [
        Row(f"generating and scoring, {what}", seconds, "the networks alone", networks,
            f"{overhead:.3f} times the networks (at most {MOST_OVERHEAD})"),
        Row("fixed: imports, plan, report", fixed, "asked: at most", MOST_FIXED),
    ])  # fmt: skip


def run(folder: Path, words: list[str]) -> tuple[float, float]:
    """(seconds of generating and scoring, of the networks within) of a whole run in a folder."""
    from bench.cli import main as bench
    from benchmarks.networks import timed

    out = folder / "run"
    with timed() as networks:
        code = bench([*words, f"out={out}", f"cache={folder / 'cache'}"])
    if code not in (0, 4):
        raise SystemExit(code)
    spent = json.loads((out / "result.json").read_bytes())["seconds"]
    return spent["generate"] + spent["score"], networks.seconds


if __name__ == "__main__":
    main(sys.argv[1:])
