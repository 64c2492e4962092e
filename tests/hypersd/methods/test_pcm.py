"""PCM: its phases' edges, hinge losses on points diffused alike, its heads' turn and resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from hypersd import checkpoint, loop
from hypersd.bases.unet import UnetFamily
from hypersd.lora.reader import WEIGHT_NAME
from hypersd.methods.consistency import Draw
from hypersd.methods.pcm import Pcm, PcmTask
from hypersd.recipe import Recipe
from hypersd.solver import SolverGrid
from tests.hypersd.trainings import assert_resumes_exactly, differ, rng, values

RECIPE = Recipe(
    name="trial", method="pcm", steps=3, batch=3, lr=5e-3, checkpoint_every=2, trackers=[],
    data={"set": "shapes/train", "n": 6}, options={"guidance": 2.0, "rank": 4},
    stages=[{"segments": 4, "steps": 3, "adversarial": 0.3}],
)  # fmt: skip


@pytest.fixture
def task(built: Callable[..., PcmTask], no_previews: None) -> PcmTask:
    return built(RECIPE)


def test_edges_are_where_four_steps_of_inference_start() -> None:
    """The release's, on 50 points, are 0, 239, 499 and 739."""
    method, index = Pcm(RECIPE, SolverGrid(40)), torch.arange(40)
    draw = Draw(index, torch.zeros(40, 1, 1, 1), torch.rand(40, generator=rng()))
    assert method.endpoint(0, draw).tolist() == [0] * 10 + [249] * 10 + [499] * 10 + [749] * 10


def test_the_loss_is_distance_and_hinge_of_points_diffused_within_their_phase(
    task: PcmTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both predictions at one level with one noise; the level lies in the phase."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    real = UnetFamily.features
    monkeypatch.setattr(
        UnetFamily, "features",
        lambda unet, x, t, text: (seen.append((x.detach(), t)), real(unet, x, t, text))[1],
    )  # fmt: skip
    total, _, at = task.turn_loss("student", 0, rng())
    task.turn_loss("critic", 0, rng(), at)
    assert len(seen) == 3 and torch.equal(seen[0][0], seen[2][0])
    (fake, level), (goal, other) = seen[0], seen[1]
    assert torch.equal(level, other)
    assert bool((level >= at.s).all() and (level <= at.s + 250).all())
    ratio = (task.schedule.alpha[level] / task.schedule.alpha[at.s]).view(-1, 1, 1, 1)
    torch.testing.assert_close(goal - fake, (ratio * (at.goal - at.prediction)).float(),
                               rtol=1e-3, atol=1e-3)  # fmt: skip
    with torch.no_grad(), task.student.using("teacher"):
        logits = task.heads(real(task.base.network, fake, level, at.text))
    d = at.prediction - at.goal
    distance = ((d.square() + 1e-6).sqrt() - 1e-3).mean()
    hinge = torch.stack([F.relu(1 - v).mean() for v in logits]).mean()
    torch.testing.assert_close(total.detach(), (distance + 0.3 * hinge).float(), rtol=1e-3,
                               atol=1e-4)  # fmt: skip


def test_the_heads_take_their_turn_and_learn_and_the_base_stays(
    task: PcmTask, tmp_path: Path
) -> None:
    run = loop._Run(task.recipe, task, tmp_path)
    base = {k: v.clone() for k, v in task.base.network.state_dict().items() if ".lora_" not in k}
    assert task.turns(0) == ("student", "critic")
    student, heads = values(task.student.parameters("student")), values(task.heads.parameters())
    run.turn("student", 1.0, rng())
    assert differ(task.student.parameters("student"), student)
    assert not differ(task.heads.parameters(), heads)
    student = values(task.student.parameters("student"))
    first = run.turn("critic", 1.0, rng())["loss"]
    assert not differ(task.student.parameters("student"), student)
    assert differ(task.heads.parameters(), heads)
    for _ in range(10):
        last = run.turn("critic", 1.0, rng())["loss"]
    assert last < first
    now = task.base.network.state_dict()
    assert all(torch.equal(now[key], value) for key, value in base.items())
    assert all(p.grad is None for k, p in task.base.network.named_parameters() if ".lora_" not in k)


@pytest.mark.parametrize("base_precision", ["fp32", "bf16"])
def test_a_stopped_training_goes_on_with_its_heads_in_full_precision(
    task: PcmTask, tmp_path: Path, base_precision: str
) -> None:
    """PCM's release forgets the heads; another trainer went on with a LoRA in half precision."""
    recipe = replace(task.recipe, base_precision=base_precision)
    assert_resumes_exactly(recipe, PcmTask, 2, WEIGHT_NAME, tmp_path)
    held: Any = checkpoint.newest(tmp_path / "stopped")
    assert set(held["modules"]["critic"]) == set(task.heads.state_dict())
    adapters = [v for k, v in held["modules"]["unet"].items() if ".lora_" in k]
    assert adapters and {v.dtype for v in adapters} == {torch.float32}
