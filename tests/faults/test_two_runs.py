"""Two runs at once, as processes: on one folder, and on one cache."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults import victims


def test_the_second_run_in_a_folder_is_refused(
    furnished: Callable[[Path], Path], undisturbed: Path, tmp_path: Path
) -> None:
    folder = furnished(tmp_path)
    first = victims.start(folder, "out=run", slowly=0.3)
    while first.is_alive() and not (folder / "run/run.json").is_file():
        time.sleep(0.01)
    assert victims.run(folder, "out=run") == 2
    assert "error: out=run: another run is at work there" in victims.said(folder)
    first.join(180)
    assert first.exitcode == 0, victims.said(folder)
    assert victims.outcome(folder) == victims.outcome(undisturbed)


def test_two_runs_on_one_cache_make_nothing_twice(
    furnished: Callable[[Path], Path], undisturbed: Path, tmp_path: Path
) -> None:
    folder = furnished(tmp_path)
    both = [victims.start(folder, f"out={out}", slowly=0.1) for out in ("run", "other")]
    for process in both:
        process.join(180)
        assert process.exitcode == 0, victims.said(folder)
    drawn = (folder / "drawn.txt").read_text().split()
    assert sum(map(int, drawn)) == 3 * 20
    (log,) = (folder / "runs/cache/trained").glob("*/train.jsonl")
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps.count(8) == 1
    expected = victims.outcome(undisturbed)
    for out in ("run", "other"):
        found = victims.outcome(folder, out)
        assert found["numbers"] == expected["numbers"] and found["images"] == expected["images"]
