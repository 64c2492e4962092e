"""What a training costs is counted where it happens, in every method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import rng

from hypersd import loop
from hypersd.recipe import Recipe

BATCH, STEPS, GUIDED = 4, 2, 2
SEGMENTS = [{"segments": 2, "steps": 1}, {"segments": 1, "steps": 1, "adversarial": 0.5}]
MOVES = [
    {"from": 4, "to": 2, "steps": 1},
    {"from": 2, "to": 1, "steps": 1, "critic": "pair", "distance": 0.5},
]
CASES: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "lcm": ("lcm", {}, []),
    "tcd, ema": ("tcd", {"target": "ema"}, []),
    "tcd, not guided": ("tcd", {"guidance": 1.0}, []),
    "tscd": ("tscd", {}, SEGMENTS),
    "tscd, taught by itself": ("tscd", {"teacher": "previous_stage"}, SEGMENTS),
    "pcm": ("pcm", {}, SEGMENTS),
    "lightning": ("lightning", {}, MOVES),
    "dmd": ("dmd", {"fake_updates": 2, "pairs": 3, "pair_steps": 2}, []),
    "dmd2": ("dmd2", {"fake_updates": 2, "moves": 1}, []),
}


def counted(name: str, base: Path, folder: Path, **changes: Any) -> tuple[Any, dict[str, int]]:
    method, options, stages = CASES[name]
    recipe = Recipe(
        name="trial", method=method, steps=STEPS, batch=BATCH, lr=1e-3, base=str(base),
        data={"set": "shapes/train", "n": 4}, stages=stages, trackers=[],
        options={"guidance": 2.0, "rank": 4, **options}, **changes,
    )  # fmt: skip
    task = loop.build(recipe, torch.device("cpu"))
    run = loop._Run(recipe, task, folder)
    for step in range(STEPS):
        run.step = step
        run.update(rng(step))
    return task, dict(run.passes)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERSD_CACHE", str(tmp_path))


@pytest.mark.parametrize("name", CASES)
def test_the_count_is_what_the_formula_says(name: str, tiny_base: Path, tmp_path: Path) -> None:
    task, found = counted(name, tiny_base, tmp_path)
    half = 0.5 if name == "dmd2" else 0.0  # its formula counts a critic's half network so
    expected = task.cost(STEPS)
    for way in ("forwards", "backwards"):
        halves = half * found.get(f"encoder_{way}", 0)
        assert found[f"unet_{way}"] + halves == expected[f"unet_{way}"]
