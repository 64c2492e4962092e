"""What a training costs is counted where it happens, in every method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hypersd import loop
from hypersd.recipe import Recipe
from hypersd.rewards import panel
from tests.hypersd.trainings import rng

BATCH, STEPS, GUIDED = 4, 2, 2
REWARD = {"kind": "aesthetic", "folder": "unused", "target": 1.0}
SEGMENTS = [{"segments": 2, "steps": 1}, {"segments": 1, "steps": 1, "adversarial": 0.5}]
MOVES = [
    {"from": 4, "to": 2, "steps": 1},
    {"from": 2, "to": 1, "steps": 1, "critic": "pair", "distance": 0.5},
]
ALL = STEPS * BATCH
CASES: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]], tuple[int, ...]]] = {
    # student, target and a guided teacher's two
    "lcm": ("lcm", {}, [], (4 * ALL, ALL)),
    "tcd, ema": ("tcd", {"target": "ema"}, [], (4 * ALL, ALL)),
    "tcd, not guided": ("tcd", {"guidance": 1.0}, [], (3 * ALL, ALL)),
    # a pair's two halves, of the prediction; in the critic's turn of both
    "tscd": ("tscd", {}, SEGMENTS, (4 * ALL, ALL, 6 * BATCH, 5 * BATCH)),
    "tscd, taught by itself": (
        "tscd", {"teacher": "previous_stage"}, SEGMENTS,
        (4 * BATCH + 3 * BATCH, ALL, 6 * BATCH, 5 * BATCH),
    ),
    # no pair, and a trunk that takes no gradient from its heads
    "pcm": ("pcm", {}, SEGMENTS, (4 * ALL, ALL, 3 * BATCH, BATCH)),
    # two guided moves, then two of the kept student; each time the student's own
    "lightning": ("lightning", {}, MOVES, (5 * BATCH + 3 * BATCH, ALL, 6 * BATCH, 5 * BATCH)),
    # student, fake and teacher; two passes in a fake's turn; three pairs' ODE
    "dmd": (
        "dmd", {"fake_updates": 2, "pairs": 3, "pair_steps": 2}, [],
        (4 * ALL + 2 * 2 * ALL + STEPS * 3 * 2 * GUIDED, ALL + 2 * ALL),
    ),
    # as without pairs; a half for the generator, two in each fake's turn
    "dmd2": (
        "dmd2", {"fake_updates": 2, "moves": 1}, [],
        (4 * ALL + 2 * 2 * ALL, ALL + 2 * ALL, ALL + 2 * 2 * ALL, ALL + 2 * 2 * ALL),
    ),
    # the student, fake and teacher at a noise level; in fake's turns one each
    "tdm": ("tdm", {"fake_updates": 2, "moves": 1}, [], (4 * ALL + 2 * ALL, ALL + 2 * ALL)),
    # the same with the teacher's two for guidance, and TCD's four
    "one_adapter": (
        "one_adapter", {"fake_updates": 2, "moves": [1], "shares": [1.0], "gan": 0.0}, [],
        (5 * ALL + 4 * ALL + 2 * ALL, ALL + ALL + 2 * ALL),
    ),
    # a half for the generator, two in each fake's turn
    "one_adapter, all of it": (
        "one_adapter",
        {"fake_updates": 2, "moves": [1], "shares": [1.0], "gan_from": 0.0, "anchor": 0.0,
         "anchor_end": 0.0, "apart": False, "rewards": [REWARD], "feedback_from": 0.0}, [],
        (4 * ALL + 2 * ALL, ALL + 2 * ALL, ALL + 2 * 2 * ALL, ALL + 2 * 2 * ALL),
    ),
    # a picture drawn in one move, its gradient through that
    "feedback": ("feedback", {"moves": 1, "rewards": [REWARD], "guidance": 1.0}, [], (ALL, ALL)),
}  # fmt: skip
NAMES = ("unet_forwards", "unet_backwards", "encoder_forwards", "encoder_backwards")


def recipe_of(name: str, base: Path, **changes: Any) -> Recipe:
    method, options, stages, _ = CASES[name]
    return Recipe(
        name="trial", method=method, steps=STEPS, batch=BATCH, lr=1e-3, base=str(base),
        data={"set": "shapes/train", "n": 4}, stages=stages, trackers=[],
        options={"guidance": 2.0, "rank": 4, **options}, **changes,
    )  # fmt: skip


def counted(name: str, base: Path, folder: Path, **changes: Any) -> dict[str, int]:
    recipe = recipe_of(name, base, **changes)
    run = loop._Run(recipe, loop.build(recipe, torch.device("cpu")), folder)
    for run.step in range(STEPS):
        run.update(rng(run.step))
    return dict(run.passes)


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERSD_CACHE", str(tmp_path))
    monkeypatch.setattr(panel, "load_reward", lambda entry, device: brightness)


def brightness(images: torch.Tensor, prompts: Any) -> torch.Tensor:
    return images.mean((1, 2, 3))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_every_pass_is_counted_once(name: str, parts: int, tiny_base: Path, tmp_path: Path) -> None:
    found = counted(name, tiny_base, tmp_path, accumulate=parts)
    assert found == dict(zip(NAMES, CASES[name][-1], strict=False))


def test_previews_are_no_part_of_the_cost(tiny_base: Path, tmp_path: Path) -> None:
    recipe = recipe_of("tscd", tiny_base, checkpoint_every=1, prompts=["a red star"])
    facts = json.loads((loop.train(recipe, tmp_path / "run") / "training.json").read_text())
    assert {name: facts[name] for name in NAMES} == dict(zip(NAMES, CASES["tscd"][-1], strict=True))
    snapshot = json.loads((tmp_path / "run/2segments/training.json").read_text())
    assert (snapshot["unet_forwards"], snapshot["unet_backwards"]) == (4 * BATCH, BATCH)


def test_a_stopped_training_counts_on(tiny_base: Path, tmp_path: Path) -> None:
    recipe = recipe_of("lcm", tiny_base)
    for steps in (1, STEPS):
        task = loop.build(recipe, torch.device("cpu"))
        run = loop._Run(recipe, task, tmp_path)
        run.resume()
        while run.step < steps:
            run.update(rng(run.step))
            run.step += 1
        run.save()
    assert dict(run.passes) == dict(zip(NAMES, CASES["lcm"][-1], strict=False))
