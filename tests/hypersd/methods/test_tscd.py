"""TSCD whole: the adversarial part, its critic's turns, and who teaches the later stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from hypersd import loop
from hypersd.base import load_base
from hypersd.critic import encoder_of
from hypersd.errors import UsageError
from hypersd.lora.reader import WEIGHT_NAME
from hypersd.methods.tscd import TscdTask
from hypersd.recipe import Recipe
from tests.hypersd.trainings import assert_resumes_exactly, differ, rng, values

RECIPE = Recipe(
    name="trial", method="tscd", steps=4, batch=3, lr=5e-3, checkpoint_every=3,
    data={"set": "shapes/train", "n": 6},
    options={"guidance": 2.0, "rank": 4, "distance": "mse", "target": "ema"},
    stages=[{"segments": 2, "steps": 2},
            {"segments": 1, "steps": 2, "distance": 0.5, "adversarial": 0.2}],
)  # fmt: skip


@pytest.fixture
def build(built: Callable[..., TscdTask], no_previews: None) -> Any:
    return lambda **options: built(RECIPE, options={**RECIPE.options, **options})


def test_the_critic_takes_its_turn_where_the_stage_has_a_weight(build: Any, tmp_path: Path) -> None:
    task = build()
    run = loop._Run(task.recipe, task, tmp_path)
    assert [task.turns(step) for step in range(4)] == [("student",)] * 2 + [
        ("student", "critic")
    ] * 2
    run.step = 2
    student, critic = values(task.student.parameters("student")), values(task.critic.trained())
    run.turn("student", 1.0, rng(2))
    assert differ(task.student.parameters("student"), student)
    assert not differ(task.critic.trained(), critic)
    student = values(task.student.parameters("student"))
    run.turn("critic", 1.0, rng(2))
    assert differ(task.critic.trained(), critic)
    assert not differ(task.student.parameters("student"), student)


def test_the_loss_is_the_stages_weighted_sum(build: Any) -> None:
    """0.5 MSE + 0.2 BCE(D(prediction), 1), from the pair itself and torch's own losses."""
    task = build()
    total, scalars, at = task.turn_loss("student", 2, rng(2))
    logits = task.critic(at.prediction, at.s, at.text, at.x_t, at.t)
    adversarial = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    expected = 0.5 * F.mse_loss(at.prediction, at.goal) + 0.2 * adversarial
    torch.testing.assert_close(total, expected)
    assert scalars["generator_loss"] == pytest.approx(adversarial.item(), rel=1e-5)
    assert not at.goal.requires_grad


def test_without_an_adversarial_weight_the_loss_is_the_distance_alone(build: Any) -> None:
    total, scalars = build().loss(1, rng(1))
    assert total.item() == pytest.approx(scalars["distance"], rel=1e-6)
    assert "generator_loss" not in scalars


def test_the_previous_stages_average_teaches_the_next(build: Any, tmp_path: Path) -> None:
    task = build(teacher="previous_stage", ode_steps=3)
    run = loop._Run(task.recipe, task, tmp_path)
    for step in range(2):
        run.step = step
        run.update(rng(step))
    kept = values(task.student.parameters("target"))
    assert differ(task.student.parameters("student"), kept)
    assert not differ(task.student.parameters("previous"), kept)
    assert (task.ode_steps(1), task.ode_steps(2)) == (3, 1)
    run.step = 2
    run.update(rng(2))
    assert not differ(task.student.parameters("previous"), kept)
    x, t = torch.randn(2, 4, 16, 16, generator=rng(0)), torch.tensor([999, 500])
    text = task.base.encode_prompts(["a red star", "a blue ring"])
    with torch.no_grad():
        assert torch.equal(
            task.ode_prediction(2, x, t, text), task.student.predict("previous", x, t, text)
        )
        plain = build().ode_prediction(2, x, t, text)
    torch.testing.assert_close(task.ode_prediction(1, x, t, text), plain)


def test_a_stage_has_a_teacher_and_steps_of_its_own(built: Callable[..., TscdTask]) -> None:
    stages = [
        {"segments": 4, "steps": 1},
        {"segments": 2, "steps": 1, "ode_steps": 4},
        {"segments": 1, "steps": 2, "ode_steps": 4, "teacher": "previous_stage"},
    ]
    task = built(RECIPE, stages=stages, options={**RECIPE.options, "ode_steps": 2})
    assert [task.ode_steps(step) for step in range(4)] == [2, 4, 1, 1]
    assert "previous" in task.roles()
    first = {**stages[0], "teacher": "previous_stage"}
    assert "previous" not in built(RECIPE, stages=[first, {"segments": 1, "steps": 3}]).roles()


@pytest.mark.parametrize("recompute", [False, True])
def test_a_frozen_trunk_sees_the_base_whatever_the_adapters_hold(
    build: Any, recompute: bool
) -> None:
    """Logits and the student's gradient against a critic with a frozen copy of the bare base."""
    recipe = replace(build(critic="frozen").recipe, gradient_checkpointing=recompute)
    task: Any = loop.build(recipe, torch.device("cpu"))
    assert task.critic.trunk is task.base.network
    bare = encoder_of(load_base(task.recipe.base, torch.device("cpu")).network).requires_grad_(
        False
    )
    with torch.no_grad():
        for parameter in task.student.parameters("student"):
            parameter.normal_(0, 0.05, generator=rng(1))

    def gradient() -> list[torch.Tensor]:
        for parameter in task.student.parameters("student"):
            parameter.grad = None
        task.loss(2, rng())[0].backward()
        return values(p.grad for p in task.student.parameters("student"))

    at = task.turn_loss("student", 2, rng()).outputs
    own, (logits,) = gradient(), task.logits(at.prediction, at, 2)
    task.critic.__dict__["trunk"] = bare
    torch.testing.assert_close(task.logits(at.prediction, at, 2)[0], logits)
    for mine, other in zip(own, gradient(), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("critic", ["copy", "frozen"])
def test_a_stopped_training_goes_on_with_its_critic(
    build: Any, tmp_path: Path, critic: str
) -> None:
    assert_resumes_exactly(build(critic=critic).recipe, TscdTask, 3, WEIGHT_NAME, tmp_path)


def test_every_stage_leaves_its_student(build: Any, tmp_path: Path) -> None:
    """A snapshot is what the stage ended with, and its card counts its own pictures."""
    recipe, name = build().recipe, WEIGHT_NAME
    final = loop.train(recipe, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "2segments" / "training.json").read_text())
    assert (facts["steps"], facts["images_seen"], facts["unet_backwards"]) == (2, 6, 6)
    short = replace(recipe, steps=2, stages=recipe.stages[:1])
    alone = load_file(loop.train(short, tmp_path / "short") / name)
    kept = load_file(tmp_path / "run" / "2segments" / name)
    assert all(torch.equal(kept[key], value) for key, value in alone.items())
    assert json.loads((final / "training.json").read_text())["steps"] == 4


def test_a_stage_has_a_grid_of_its_own(built: Callable[..., TscdTask], no_previews: None) -> None:
    """8 and 4 points for 2 and 1 segments: every time and end point lies on the stage's grid."""
    stages = [{"segments": 2, "steps": 2, "points": 8}, {"segments": 1, "steps": 2, "points": 4}]
    task = built(RECIPE, stages=stages, batch=64)
    grids = {0: {124, 249, 374, 499, 624, 749, 874, 999}, 2: {249, 499, 749, 999}}
    for step, times in grids.items():
        at = task.pair(step, rng(step))
        assert set(at.t.tolist()) == times
        assert set(at.s.tolist()) <= {0, *times}
    with pytest.raises(UsageError, match="2 segments do not divide solver points=5"):
        built(RECIPE, stages=[{**stages[0], "points": 5}, stages[1]])


def test_a_snapshot_holds_the_averages_and_training_goes_on_without_them(
    build: Any, tmp_path: Path
) -> None:
    """`average` of 0.9, whose first rates are 1/10 and 2/11, over two steps."""
    task = build()
    recipe = replace(task.recipe, average=0.9, validate_every=4)
    plain = loop.train(task.recipe, tmp_path / "plain")
    averaged = loop.train(recipe, tmp_path / "averaged")
    student = task.student.parameters("student")
    start = values(student)
    run = loop._Run(task.recipe, task, tmp_path)
    seen = []
    for step in range(2):
        run.step = step
        run.update(rng(recipe.seed * 1_000_003 + step))
        seen.append(values(student))
    expected = [
        s * 0.1 * 2 / 11 + a * 0.9 * 2 / 11 + b * 9 / 11
        for s, a, b in zip(start, *seen, strict=True)
    ]
    task.student.load("student", tmp_path / "averaged" / "2segments")
    for found, value in zip(student, expected, strict=True):
        torch.testing.assert_close(found.detach(), value, rtol=2e-3, atol=1e-4)
    states = [load_file(path.parent / "final" / WEIGHT_NAME) for path in (plain, averaged)]
    assert any(not torch.equal(states[0][key], value) for key, value in states[1].items())
