"""kill -9 at any moment, then the same command again: nothing differs from a run left alone."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import victims

STAGES = {
    "training": "runs/cache/trained/*/checkpoint-*.pt",
    "generating": "runs/cache/images/*/*.safetensors",
    "scoring": "runs/cache/features/*/*.safetensors",
    "rendering": "run/features/*.safetensors",
}


def leftovers(folder: Path) -> list[Path]:
    """What a killed process had begun to write."""
    return [p for word in ("writing", "part") for p in folder.rglob(f"*{word}*")]


def test_killed_in_every_stage_a_run_comes_to_the_same(
    furnished: Callable[[Path], Path], undisturbed: Path, tmp_path: Path
) -> None:
    """One run, killed shortly after each stage has left its first file, four times in all."""
    folder, rng, killed = furnished(tmp_path), random.Random(0), []
    for stage, pattern in STAGES.items():
        there = set(folder.glob(pattern))
        process = victims.start(folder, "out=run")
        while process.is_alive() and set(folder.glob(pattern)) <= there:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
        killed += [stage] * (process.exitcode == -9)
    assert victims.run(folder, "out=run") == 0, victims.said(folder)
    assert victims.outcome(folder) == victims.outcome(undisturbed)
    assert leftovers(folder) == []
    assert len(killed) >= 3, killed


@pytest.mark.slow
def test_killed_at_thirty_random_moments(
    furnished: Callable[[Path], Path], undisturbed: Path, tmp_path: Path
) -> None:
    expected, rng, killed = victims.outcome(undisturbed), random.Random(1), 0
    began = time.perf_counter()
    assert victims.run(furnished(tmp_path / "timed"), "out=run") == 0
    whole = time.perf_counter() - began
    for number in range(30):
        folder = furnished(tmp_path / str(number))
        process = victims.start(folder, "out=run")
        process.join(whole * (number + rng.random()) / 30)
        process.kill()
        process.join()
        killed += process.exitcode == -9
        assert victims.run(folder, "out=run") == 0, victims.said(folder)
        assert victims.outcome(folder) == expected, f"moment {number}"
        assert leftovers(folder) == [], f"moment {number}"
        shutil.rmtree(folder)
    assert killed >= 20
