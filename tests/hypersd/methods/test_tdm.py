"""TDM: its losses by hand, its noise in closed form, nothing to learn where the student is right,
whose turn moves what, its resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from hypersd import loop
from hypersd.errors import UsageError
from hypersd.lora.reader import WEIGHT_NAME
from hypersd.losses import trajectory_denoising_loss, trajectory_matching_loss
from hypersd.methods.on_policy import Step, roll_out
from hypersd.methods.tdm import TdmTask
from hypersd.recipe import Recipe
from hypersd.sampler import sample_consistency, sample_jumps
from hypersd.schedule import Schedule
from tests.hypersd.gaussians import FLOW, SCALED_LINEAR, Gaussian
from tests.hypersd.trainings import assert_resumes_exactly, differ, rng, values

RECIPE = Recipe(
    name="trial", method="tdm", steps=3, batch=3, lr=1e-2, checkpoint_every=2, trackers=[],
    data={"set": "shapes/train", "n": 6},
    options={"guidance": 2.0, "rank": 4, "fake_updates": 2, "moves": 3},
)  # fmt: skip
SCHEDULES = pytest.mark.parametrize("config", [SCALED_LINEAR, FLOW], ids=["preserving", "flow"])


@pytest.fixture
def task(built: Callable[..., TdmTask], no_previews: None) -> TdmTask:
    return built(RECIPE)


def test_the_gradient_is_of_one_size_in_every_element() -> None:
    """d/sqrt(d^2 + c^2) over the scale, by hand; where d >> c its sign alone."""
    x, fake, real = (torch.randn(2, 3, 4, generator=rng(i)).double() for i in range(3))
    x.requires_grad_()
    trajectory_matching_loss(x, fake, real).sum().backward()
    d = fake - real
    scale = (x.detach() - real).abs().mean((1, 2), keepdim=True)
    expected = d / (d**2 + 1e-6).sqrt() / scale / 12
    torch.testing.assert_close(x.grad, expected, rtol=1e-4, atol=1e-6)


def test_a_sample_weighs_as_much_as_its_noise_is_likely() -> None:
    fake, x0, mixed, noise = (torch.randn(2, 3, generator=rng(i)).double() for i in range(4))
    found = trajectory_denoising_loss(fake, x0, torch.tensor([2.0, 80.0]), mixed, noise)
    for i, snr in enumerate((2.0, 5.0)):
        normal = [math.exp(-float((v[i] ** 2).mean()) / 2) for v in (mixed, noise)]
        expected = snr * normal[0] / normal[1] * float(((fake - x0)[i] ** 2).mean())
        assert float(found[i]) == pytest.approx(expected, rel=1e-5)


@SCHEDULES
def test_a_path_is_the_samplers_own(config: Any) -> None:
    """Against the samplers that draw: x0 from where the path leads is where they end."""
    schedule = Schedule.from_config(config)
    teacher, clock = Gaussian(schedule), schedule.clock
    z, *fresh = (torch.randn(4, 1, 2, 2, generator=rng(i), dtype=torch.float64) for i in range(4))
    times = [clock.at(v) for v in (1.0, 0.75, 0.5, 0.25)]
    x = roll_out(teacher.predict, z, times, schedule)
    t = clock.full(x, times[-1])
    ended = schedule.jump(x, teacher.predict(x, t), t, clock.full(x, 0))
    torch.testing.assert_close(ended, sample_jumps(teacher.predict, z, times, schedule))
    x = roll_out(teacher.predict, z, times, schedule, fresh)
    ended = schedule.consistency(x, teacher.predict(x, t), t)
    drawn = sample_consistency(teacher.predict, z, times, schedule, noise=fresh)
    torch.testing.assert_close(ended, drawn, rtol=2e-3, atol=2e-3)  # c_skip's share


@SCHEDULES
def test_a_right_student_is_noised_to_the_teachers_own_distribution(
    task: TdmTask, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A jump along the exact flow, noised to tau: of N(alpha m, alpha^2 c^2 + sigma^2), so the
    scores of both agree; and x_tau is alpha x0 + sigma mixed."""
    schedule = Schedule.from_config(config)
    monkeypatch.setattr(task, "schedule", schedule)
    monkeypatch.setattr(task, "recipe", replace(task.recipe, batch=20_000))
    teacher, clock = Gaussian(schedule), schedule.clock
    z = torch.randn(20_000, 1, 1, 1, generator=rng(), dtype=torch.float64)
    t, s = (clock.full(z, clock.at(v)) for v in (0.75, 0.5))
    a, b = (v.view(-1, 1, 1, 1) for v in schedule.coefficients(t))
    x_t = a * teacher.mean + (a**2 * teacher.spread**2 + b**2).sqrt() * z
    prediction = teacher.predict_towards(x_t, t, s)
    batch: Any = type("Batch", (), {"shape": z.shape, "text": None})
    at = Step(x_t, prediction, schedule.x0(x_t, prediction, t), t, s, 4, 1, batch)
    now = task.noised(at, rng(1))
    assert bool((now.tau >= s).all() and (now.tau <= t).all()) and len(now.tau.unique()) > 100
    a, b = (v.to(z.dtype).view(-1, 1, 1, 1) for v in schedule.coefficients(now.tau))
    torch.testing.assert_close(now.x_tau.double(), a * at.x0 + b * now.mixed, rtol=1e-4, atol=1e-4)
    standard = (now.x_tau - a * teacher.mean) / (a**2 * teacher.spread**2 + b**2).sqrt()
    assert float(standard.mean()) == pytest.approx(0.0, abs=0.03)
    assert float(standard.std()) == pytest.approx(1.0, abs=0.03)


def test_the_releases_fake_is_too_flat_for_a_right_student() -> None:
    """docs/methods/tdm.md: what the squared error of x0 learns of an exact student of a Gaussian
    has 64 to 96 % of the slope of the teacher's x0. By hand: x0 = m + k z, x_s = alpha_s m + w_s z
    give E[x0 | x_tau] the slope k alpha_tau w_s / (alpha_s w_tau^2), the teacher's alpha_tau c^2 /
    w_tau^2."""
    schedule = Schedule.from_config(SCALED_LINEAR)
    teacher, found = Gaussian(schedule), []
    z = torch.randn(200_000, 1, 1, 1, generator=rng(), dtype=torch.float64)
    for now, following in pairwise([999, 749, 499, 249, 0]):
        t, s = (torch.full((1,), v) for v in (now, following))
        (a_t, b_t), (a_s, b_s) = (schedule.coefficients(v) for v in (t, s))
        wide, narrow = (
            (a**2 * teacher.spread**2 + b**2).sqrt() for a, b in ((a_t, b_t), (a_s, b_s))
        )
        x_t = a_t * teacher.mean + wide * z
        x0 = schedule.x0(x_t, teacher.predict_towards(x_t, t, s), t)
        tau = torch.full((1,), (now + following) // 2)
        a, b = schedule.coefficients(tau)
        x_tau = schedule.renoise(teacher.flow(x_t, t, s), torch.randn_like(z), tau, s)
        slope = torch.cov(torch.stack([x0.flatten(), x_tau.flatten()]))
        right = a * teacher.spread**2 / (a**2 * teacher.spread**2 + b**2)
        k = (narrow * b_t - wide * b_s) / (a_s * b_t - a_t * b_s)
        ratio = float(slope[0, 1] / slope[1, 1] / right)
        assert ratio == pytest.approx(float(k * narrow / (a_s * teacher.spread**2)), abs=0.03)
        found.append(ratio)
    assert found == pytest.approx([0.641, 0.706, 0.756, 0.961], abs=0.03)


def test_noise_levels_are_those_of_the_stretch(task: TdmTask) -> None:
    seen = set()
    for seed in range(12):
        at = task.student_step(0, rng(seed))
        now = task.noised(at, rng(seed))
        seen.add((int(at.t[0]), int(at.s[0])))
        assert bool(
            (now.tau >= at.s.clamp(min=20)).all() and (now.tau <= at.t.clamp(max=980)).all()
        )
    times = [*task.grid.inference(3), 0]
    assert seen == set(pairwise(times))


def test_only_the_step_itself_has_a_gradient(task: TdmTask) -> None:
    """Not the path that leads to it: x_t is where the present student goes, as a constant."""
    with torch.no_grad():
        for parameter in task.student.parameters("student"):
            parameter.normal_(0, 0.05, generator=rng(1))
    at = next(s for s in (task.student_step(0, rng(i)) for i in range(9)) if s.done == 2)
    assert not at.x_t.requires_grad and at.x0.requires_grad and at.is_last
    again = task.student.predict("student", at.x_t, at.t, at.text)
    grads = [
        torch.autograd.grad(v.sum(), task.student.parameters("student"))
        for v in (at.prediction, again)
    ]
    for mine, expected in zip(*grads, strict=True):
        torch.testing.assert_close(mine, expected)


def test_each_turn_moves_its_own_and_the_base_stays(task: TdmTask, tmp_path: Path) -> None:
    run = loop._Run(task.recipe, task, tmp_path)
    base = {k: v.clone() for k, v in task.base.network.state_dict().items() if ".lora_" not in k}
    assert task.turns(0) == ("student", "fake", "fake")
    for role, other in (("student", "fake"), ("fake", "student")):
        kept, was = (values(task.student.parameters(name)) for name in (other, role))
        run.turn(role, 1.0, rng())
        run.turn(role, 1.0, rng())  # the first one where all parts of a step are equal
        assert not differ(task.student.parameters(other), kept)
        assert differ(task.student.parameters(role), was)
    now = task.base.network.state_dict()
    assert all(torch.equal(now[key], value) for key, value in base.items())


def test_the_fake_learns_the_students_pictures(task: TdmTask) -> None:
    at = task.student_step(0, rng()).detached()
    optimizer = torch.optim.Adam(task.student.parameters("fake"), lr=1e-2)
    found = []
    for _ in range(20):
        loss = task.fake_loss(at, 0, rng(1))[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[-1] < 0.8 * found[0]


def test_a_stopped_training_goes_on(task: TdmTask, tmp_path: Path) -> None:
    assert_resumes_exactly(task.recipe, TdmTask, 2, WEIGHT_NAME, tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"moves": 9}, "must be a whole number from 1 to 8"), ({"start": 800}, "unknown key 'start'"),
     ({"move": 2}, "did you mean 'moves'"), ({"init": "nowhere/at all"}, "nowhere")],
)  # fmt: skip
def test_bad_options_are_one_line(built: Callable[..., TdmTask], options: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        built(RECIPE, options={**RECIPE.options, **options})
    assert "\n" not in str(caught.value)
