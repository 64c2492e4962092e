"""SDXL-Lightning: its moves against diffusers' DDIM, its stages, its critics' turns, its resume."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from hypersd import checkpoint, loop
from hypersd.data import Samples
from hypersd.errors import UsageError
from hypersd.lora.reader import WEIGHT_NAME
from hypersd.methods.lightning import LightningTask
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule
from hypersd.solver import SolverGrid
from hypersd.student import UNET_NAME
from tests.hypersd.gaussians import SCALED_LINEAR, Mixture
from tests.hypersd.trainings import assert_resumes_exactly, differ, rng, values

STAGES = [
    {"from": 8, "to": 4, "steps": 2},
    {"from": 4, "to": 2, "steps": 1, "critic": "pair"},
    {"from": 4, "to": 1, "steps": 1, "critic": "single", "noised": True},
]
RECIPE = Recipe(
    name="trial", method="lightning", steps=4, batch=3, lr=5e-3, checkpoint_every=3,
    data={"set": "shapes/train", "n": 6}, options={"guidance": 2.0, "rank": 4}, stages=STAGES,
)  # fmt: skip


@pytest.fixture
def build(built: Callable[..., LightningTask], no_previews: None) -> Any:
    return lambda **changes: built(RECIPE, **changes)


def test_the_goal_is_two_guided_ddim_moves(build: Any) -> None:
    from diffusers import DDIMScheduler

    task = build()
    at = task.turn_loss("student", 0, rng(0)).outputs
    ddim = DDIMScheduler(**SCALED_LINEAR, clip_sample=False, set_alpha_to_one=False,
                         timestep_spacing="trailing")  # fmt: skip
    ddim.set_timesteps(8)
    grid = ddim.timesteps.tolist()
    assert set(at.t.tolist()) <= {999, 749, 499, 249}
    for i in range(3):
        x, text = at.x_t[i : i + 1], at.text[i : i + 1]
        first = grid.index(int(at.t[i]))
        for t in grid[first : first + 2]:
            with torch.no_grad():
                both = [task.student.predict("teacher", x, torch.tensor([t]), e)
                        for e in (task.empty, text)]  # fmt: skip
                x = ddim.step(both[0] + 2.0 * (both[1] - both[0]), t, x).prev_sample
        torch.testing.assert_close(at.goal[i : i + 1], x, rtol=1e-4, atol=1e-4)
        assert int(at.s[i]) == [*grid, 0][first + 2]


def test_the_first_stage_asks_for_the_squared_error_alone(build: Any) -> None:
    task = build()
    total, _, at = task.turn_loss("student", 1, rng(1))
    torch.testing.assert_close(total, F.mse_loss(at.prediction, at.goal))
    assert task.turns(1) == ("student",)
    assert not at.goal.requires_grad


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_an_untrained_student_makes_the_move_of_any_base(build: Any, kind: str) -> None:
    """Its network gives what the base's does, also where that is v or x0."""
    stage, options = {"from": 8, "to": 8, "steps": 1}, {**RECIPE.options, "guidance": 1.0}
    task = build(stages=[stage], steps=1, options=options)
    task.schedule = task.student.schedule = replace(task.schedule, prediction_type=kind)
    assert float(task.loss(0, rng())[0].detach()) == 0.0
    assert task.facts()["prediction_type"] == kind


def test_a_stage_weighs_its_two_losses(build: Any) -> None:
    weights = {"distance": 0.5, "adversarial": 0.1}
    weighed = [STAGES[0], STAGES[1] | weights, STAGES[2]]
    alone, both = build(), build(stages=weighed)
    paper, scalars = alone.loss(2, rng(2))
    mixed, _ = both.loss(2, rng(2))
    assert float(paper) == pytest.approx(scalars["generator_loss"], rel=1e-6)
    expected = 0.5 * scalars["distance"] + 0.1 * scalars["generator_loss"]
    assert float(mixed) == pytest.approx(expected, rel=1e-5)


def test_each_stage_has_a_critic_of_its_own(build: Any, tmp_path: Path) -> None:
    task = build()
    run = loop._Run(task.recipe, task, tmp_path)
    assert [task.turns(step)[1:] for step in range(4)] == [
        (), (), ("critic_4to2_pair",), ("critic_4to1_single",)
    ]  # fmt: skip
    run.step = 2
    student = values(task.student.parameters("student"))
    pair = values(task.critics["critic_4to2_pair"].trained())
    single = values(task.critics["critic_4to1_single"].trained())
    run.update(rng(2))
    assert differ(task.student.parameters("student"), student)
    assert differ(task.critics["critic_4to2_pair"].trained(), pair)
    assert not differ(task.critics["critic_4to1_single"].trained(), single)


def test_a_frozen_trunk_sees_the_base_whatever_the_adapters_hold(build: Any) -> None:
    task = build(options={**RECIPE.options, "trunk": "frozen"})
    at = task.turn_loss("student", 2, rng()).outputs
    before = task.logits(task.stage(2), at.goal, at)
    with torch.no_grad():
        for parameter in task.student.parameters("student"):
            parameter.normal_(0, 0.05, generator=rng(1))
    assert task.critics[task.stage(2).role].trunk is task.base.network
    torch.testing.assert_close(task.logits(task.stage(2), at.goal, at), before)


def test_a_later_stage_follows_the_student_of_an_earlier_one(build: Any, tmp_path: Path) -> None:
    """It may skip a level: 4 -> 1 is taught by the four-step student, not by the two-step one."""
    task = build()
    run = loop._Run(task.recipe, task, tmp_path)
    for step in range(2):
        run.step = step
        run.update(rng(step))
    kept = values(task.student.parameters("student"))
    run.step = 2
    run.update(rng(2))
    assert task.student.adapters == ("student", "4step")
    assert not differ(task.student.parameters("4step"), kept)
    x, t = torch.randn(2, 4, 16, 16, generator=rng(0)), torch.tensor([999, 499])
    text = task.base.encode_prompts(["a red star", "a blue ring"])
    with torch.no_grad():
        found = task.stage_prediction(task.stages[2], x, t, text)
        assert torch.equal(found, task.student.predict("4step", x, t, text))


def test_a_noised_critic_sees_the_landing_with_noise_up_to_its_level(build: Any) -> None:
    """s = 0 after one step: the critic's input is diffused from there to t*."""
    task = build()
    at, seen = task.turn_loss("student", 3, rng(3)).outputs, []
    critic = task.critics["critic_4to1_single"]
    critic.register_forward_pre_hook(lambda module, args: seen.append(args))
    task.logits(task.stages[3 - 1], at.prediction, at)
    x, s = seen[0][:2]
    assert set(s.tolist()) <= {10, 250, 500, 750}
    assert len(seen[0]) == 3  # no x_t: the second critic judges pictures alone
    ratio = (task.schedule.alpha[s] / task.schedule.alpha[0]).view(-1, 1, 1, 1)
    expected = ratio * at.prediction + (1 - ratio**2).sqrt() * at.noise
    torch.testing.assert_close(x, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("full", [False, True])
def test_a_stopped_training_goes_on_with_critics_and_kept_students(
    build: Any, tmp_path: Path, full: bool
) -> None:
    recipe = build(options={**RECIPE.options, "full": full}).recipe
    name = UNET_NAME if full else WEIGHT_NAME
    assert_resumes_exactly(recipe, LightningTask, 3, name, tmp_path)


def test_students_of_each_number_of_steps_are_kept(build: Any) -> None:
    assert [build().snapshot(step) for step in range(4)] == [None, "4step", "2step", None]


class Exact:
    """In a task's student's place: the teacher's eps is a mixture's, the student's lands where the
    exact ODE does, and so does what was kept of it; an x0 network gives the x0 of that landing."""

    def __init__(self, mixture: Mixture, to: int, points: int) -> None:
        self.mixture, self.prediction = mixture, dict[str, str]()
        grid = [*SolverGrid(points).inference(to), 0]
        self.following = dict(pairwise(grid))

    def predict(self, role: str, x: torch.Tensor, t: torch.Tensor, text: Any) -> torch.Tensor:
        if role == "teacher":
            return self.mixture.eps(x, t)
        schedule, s = self.mixture.schedule, [self.following[v] for v in t.tolist()]
        ends = [self.mixture.flow(one[None], v, w)
                for one, v, w in zip(x, t.tolist(), s, strict=True)]  # fmt: skip
        ratio = (schedule.alpha[s] / schedule.alpha[t]).view(-1, 1, 1, 1)
        scale = schedule.sigma[s].view(-1, 1, 1, 1) - ratio * schedule.sigma[t].view(-1, 1, 1, 1)
        eps = (torch.cat(ends) - ratio * x) / scale
        if self.prediction.get(role) == "sample":
            output = (x - schedule.sigma[t].view(-1, 1, 1, 1) * eps) / schedule.alpha[t].view(
                -1, 1, 1, 1
            )
            return schedule.prediction(output, x, t, "sample")
        return eps

    def network(self, role: str) -> Any:
        return lambda x, t, text: self.predict(role, x, t, text)


def exact_loss(build: Any, stages: list[dict[str, Any]], points: int, step: int = 0) -> float:
    """The loss of a perfect student of a mixture on 24 samples, without guidance."""
    options = {"guidance": 1.0, "rank": 4, "points": points}
    steps = sum(stage["steps"] for stage in stages)
    task = build(stages=stages, steps=steps, options=options, batch=24)
    mixture = Mixture(Schedule.from_config(SCALED_LINEAR))
    task.schedule, task.student = mixture.schedule, Exact(mixture, stages[-1]["to"], points)
    x0 = torch.tensor(mixture.means, dtype=torch.float64).repeat(8).view(24, 1, 1, 1)
    samples = Samples(x0, [""] * 24, torch.zeros(24, 1, 1), torch.arange(24), x0.shape)
    task.data = SimpleNamespace(samples=lambda *given: samples)
    return float(task.loss(step, rng())[0])


def test_a_perfect_student_pays_only_the_teachers_solver_error(build: Any) -> None:
    """What is left is the error of the teacher's DDIM moves, of first order: its square falls by
    25 for moves 5 times as small. For two steps and for one."""
    for to in (2, 1):
        stage = {"to": to, "steps": 1}
        coarse = exact_loss(build, [{"from": 40, **stage}], 40)
        fine = exact_loss(build, [{"from": 200, **stage}], 200)
        assert coarse < 3e-3
        assert fine < coarse / 12


def test_an_x0_network_that_says_what_the_kept_student_does_pays_nothing(build: Any) -> None:
    """The paper's Eq. 29; the kept student still gives noise."""
    stages = [{"from": 8, "to": 1, "steps": 1},
              {"from": 1, "to": 1, "steps": 1, "output": "sample"}]  # fmt: skip
    assert exact_loss(build, stages, 40, step=1) < 1e-9


X0 = [
    {"from": 8, "to": 1, "steps": 1},
    {"from": 1, "to": 1, "steps": 2, "output": "sample"},
    {"from": 1, "to": 1, "steps": 2, "critic": "single", "noised": True, "output": "sample"},
]


def test_x0_stages_go_on_after_a_stop_and_are_exported_as_such(build: Any, tmp_path: Path) -> None:
    """Stopped in the adversarial x0 stage, and told by the card what the network gives."""
    recipe = build(stages=X0, steps=5, checkpoint_every=2).recipe
    assert_resumes_exactly(recipe, LightningTask, 3, WEIGHT_NAME, tmp_path)
    facts = json.loads((tmp_path / "whole" / "final" / "training.json").read_text())
    assert facts["prediction_type"] == "sample"


def test_the_critic_of_an_x0_stage_moves_and_is_in_the_checkpoint(
    build: Any, tmp_path: Path
) -> None:
    task = build(stages=X0, steps=5)
    run = loop._Run(task.recipe, task, tmp_path)
    base = {k: v.clone() for k, v in task.base.network.state_dict().items() if ".lora_" not in k}
    critic = task.critics["critic_1to1_single_x0"]
    before = values(critic.trained())
    for run.step in range(4):
        run.update(rng(run.step))
    assert differ(critic.trained(), before)
    run.save()
    held = checkpoint.newest(tmp_path)
    assert held is not None
    kept = held["modules"]["critic_1to1_single_x0"]
    assert all(torch.equal(kept[k], v) for k, v in critic.state_dict().items())
    now = task.base.network.state_dict()
    assert all(torch.equal(now[key], value) for key, value in base.items())


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ([{"from": 8, "to": 3, "steps": 4}], "8 to 3 on 40 points"),
        ([{"from": 7, "to": 1, "steps": 4}], "7 to 1 on 40 points"),
        ([{"from": 8, "to": 4, "step": 4}], "did you mean 'steps'"),
        ([{"from": 8, "to": 4, "steps": 4, "critic": "triple"}], "valid: none, pair, single"),
        ([{"from": 8, "to": 4, "steps": 4, "noised": 1}], "must be true or false"),
        ([{"from": 8, "to": 4, "steps": 2}, {"from": 8, "to": 2, "steps": 2}], "valid: 4"),
        ([{"from": 8, "to": 4, "steps": 2}], "2 steps; valid: steps=4"),
        ([{"from": 8, "to": 4, "steps": 2}] * 2, "the same from, to and critic"),
    ],
)
def test_stages_that_cannot_be_are_refused(build: Any, stages: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        build(stages=stages)
