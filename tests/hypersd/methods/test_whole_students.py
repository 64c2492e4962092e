"""Consistency methods with all weights trained: LCM with an EMA target, as for a full model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from hypersd import loop
from hypersd.methods.consistency import ConsistencyTask
from hypersd.recipe import Recipe
from hypersd.student import UNET_NAME
from tests.hypersd.trainings import assert_resumes_exactly, rng, values


@pytest.fixture
def recipe(on_tiny_base: Callable[..., Recipe], no_previews: None) -> Recipe:
    return on_tiny_base(Recipe(
        name="trial", method="lcm", steps=4, batch=2, lr=1e-3, checkpoint_every=2, trackers=[],
        data={"set": "shapes/train", "n": 4},
        options={"guidance": 2.0, "target": "ema", "ema": 0.9, "full": True},
    ))  # fmt: skip


def test_student_and_target_are_whole_unets_and_the_base_is_the_teacher(
    recipe: Recipe, tmp_path: Path
) -> None:
    task: Any = loop.build(recipe, torch.device("cpu"))
    run = loop._Run(recipe, task, tmp_path)
    base = {k: v.clone() for k, v in task.base.network.state_dict().items()}
    assert not any("lora" in key for key in base)
    target = values(task.student.parameters("target"))
    run.update(rng())
    student = task.student.parameters("student")
    for now, was, source in zip(task.student.parameters("target"), target, student, strict=True):
        torch.testing.assert_close(now, 0.9 * was + 0.1 * source)
    assert all(torch.equal(v, base[k]) for k, v in task.base.network.state_dict().items())
    task.export(tmp_path / "out")
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "out").float()
    for key, value in task.student.copies["student"].state_dict().items():
        torch.testing.assert_close(unet.state_dict()[key], value, rtol=1e-3, atol=1e-3)


def test_it_goes_on_after_a_stop(recipe: Recipe, tmp_path: Path) -> None:
    assert_resumes_exactly(recipe, ConsistencyTask, 3, UNET_NAME, tmp_path)
