"""DMD: its gradient by hand, none at the teacher's own distribution, both roles move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hypersd import loop
from hypersd.errors import UsageError
from hypersd.lora.reader import WEIGHT_NAME
from hypersd.losses import distribution_matching_loss
from hypersd.methods.dmd import DmdTask
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule
from hypersd.student import UNET_NAME
from tests.hypersd.gaussians import FLOW, SCALED_LINEAR, Gaussian
from tests.hypersd.trainings import assert_resumes_exactly, differ, rng, values

SCHEDULE = Schedule.from_config(SCALED_LINEAR)
RECIPE = Recipe(
    name="trial", method="dmd", steps=3, batch=3, lr=1e-2, checkpoint_every=2,
    data={"set": "shapes/train", "n": 6},
    options={"guidance": 2.0, "rank": 4, "pairs": 2, "pair_steps": 2, "fake_updates": 2},
)  # fmt: skip


@pytest.fixture(params=[False, True], ids=["adapter", "full"])
def task(request: pytest.FixtureRequest, built: Callable[..., DmdTask]) -> DmdTask:
    return built(RECIPE, options={**RECIPE.options, "full": request.param})


def test_the_gradient_is_the_normalised_gap_per_sample() -> None:
    """Per sample, not per batch: samples of scale 0.1 and 5 get pulls of the same size."""
    x, fake, real = (torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(i)).double()
                     for i in range(3))  # fmt: skip
    scales = torch.tensor([0.1, 5.0]).view(2, 1, 1)
    x, fake, real = ((v * scales).requires_grad_(i == 0) for i, v in enumerate((x, fake, real)))
    distribution_matching_loss(x, fake, real).sum().backward()
    for i in range(2):
        a, b, c = x[i].detach(), fake[i], real[i]
        expected = (b - c) / (a - c).abs().mean() / a.numel()
        torch.testing.assert_close(x.grad[i], expected, rtol=1e-5, atol=1e-7)
    sizes = x.grad.abs().mean((1, 2))
    assert 0.2 < float(sizes[0] / sizes[1]) < 5


def test_there_is_nothing_to_learn_where_the_student_draws_the_teachers_pictures() -> None:
    """Pictures of the Gaussian itself: the exact score of what is drawn is the teacher's."""
    teacher = Gaussian(SCHEDULE)
    z = torch.randn(64, 1, 2, 2, generator=rng(), dtype=torch.float64)
    x = (teacher.mean + teacher.spread * z).requires_grad_()
    t = torch.randint(20, 980, (64,), generator=rng())
    x_t = SCHEDULE.renoise(x.detach(), torch.randn(x.shape, generator=rng()).double(), t)
    x0 = SCHEDULE.x0(x_t, teacher.eps(x_t, t), t)
    distribution_matching_loss(x, x0, x0).sum().backward()
    assert float(x.grad.abs().max()) == 0.0


@pytest.mark.parametrize("config", [SCALED_LINEAR, FLOW], ids=["preserving", "flow"])
def test_following_the_gradient_moves_a_gaussian_onto_the_teachers(config: Any) -> None:
    """Exact scores of both: the drawn mean and spread go to the teacher's from far away."""
    schedule = Schedule.from_config(config)
    teacher = Gaussian(schedule)
    mean = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    spread = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([mean, spread], lr=0.02)
    generator = rng()
    for _ in range(300):
        z = torch.randn(64, 4, 8, 8, generator=generator, dtype=torch.float64)
        x = mean + spread * z
        t = schedule.clock.draw(0.02, 0.98, 64, generator)
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            x_t = schedule.renoise(x, noise, t)
            drawn = Gaussian(schedule, mean=mean.item(), spread=spread.item())
            fake, real = (schedule.x0(x_t, g.predict(x_t, t), t) for g in (drawn, teacher))
        optimizer.zero_grad()
        distribution_matching_loss(x, fake, real).mean().backward()
        optimizer.step()
    assert mean.item() == pytest.approx(teacher.mean, abs=0.05)
    assert abs(spread.item()) == pytest.approx(teacher.spread, abs=0.1)


def test_each_turn_moves_its_own_adapter_and_the_base_stays(task: DmdTask, tmp_path: Path) -> None:
    run = loop._Run(task.recipe, task, tmp_path)
    base = {k: v.clone() for k, v in task.base.network.state_dict().items() if ".lora_" not in k}
    assert task.turns(0) == ("fake", "fake", "student")
    for role, other in (("fake", "student"), ("student", "fake")):
        kept, was = (values(task.student.parameters(name)) for name in (other, role))
        run.turn(role, 1.0, rng())
        assert not differ(task.student.parameters(other), kept)
        assert differ(task.student.parameters(role), was)
    now = task.base.network.state_dict()
    assert all(torch.equal(now[key], value) for key, value in base.items())


def test_the_fake_learns_the_students_pictures(task: DmdTask, tmp_path: Path) -> None:
    run = loop._Run(task.recipe, task, tmp_path)
    before = task.fake_loss(0, rng())[0].item()
    for _ in range(20):
        run.turn("fake", 1.0, rng())
    assert task.fake_loss(0, rng())[0].item() < 0.9 * before


def test_the_pair_is_the_teachers_own_ode(task: DmdTask) -> None:
    """Against diffusers' DDIM with guidance, from the same noise."""
    from diffusers import DDIMScheduler

    batch, z, _ = task._draw(0, rng())
    text = batch.text
    ddim = DDIMScheduler(**SCALED_LINEAR, clip_sample=False, timestep_spacing="trailing",
                         set_alpha_to_one=False)  # fmt: skip
    ddim.set_timesteps(2)
    x = z
    for t in ddim.timesteps:
        at = t.expand(len(x))
        u, c = (task.student.predict("teacher", x, at, e)
                for e in (task.empty.expand_as(text), text))  # fmt: skip
        with torch.no_grad():
            x = ddim.step(u + 2.0 * (c - u), t, x).prev_sample
    torch.testing.assert_close(task.solve(z, text), x, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("no_previews")
@pytest.mark.parametrize("full", [False, True])
def test_a_stopped_training_goes_on_with_both_roles(
    on_tiny_base: Callable[..., Recipe], tmp_path: Path, full: bool
) -> None:
    recipe = on_tiny_base(RECIPE, options={**RECIPE.options, "fake_updates": 1, "full": full})
    name = UNET_NAME if full else WEIGHT_NAME
    assert_resumes_exactly(recipe, DmdTask, 2, name, tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fake_update": 2}, "did you mean 'fake_updates'"),
        ({"start": 1000}, "must be a whole number from 1 to 999"),
        ({"pairs": 9}, "must be at most batch=3"),
        ({"init": "nowhere/at all"}, "nowhere"),
        ({"init": 3}, "must be a text"),
    ],
)
def test_bad_options_are_one_line(built: Callable[..., DmdTask], options: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        built(RECIPE, options={**RECIPE.options, **options})
    assert "\n" not in str(caught.value)


def test_a_student_begins_as_the_adapter_it_is_given(task: DmdTask, tmp_path: Path) -> None:
    with torch.no_grad():
        for parameter in task.student.parameters("student"):
            parameter.normal_(0, 0.05)
    task.student.export(tmp_path / "kept", dtype=torch.float32)
    kept = [p.detach().clone() for p in task.student.parameters("student")]
    with torch.no_grad():
        for parameter in task.student.parameters("student"):
            parameter.zero_()
    task.student.load("student", tmp_path / "kept")
    for now, was in zip(task.student.parameters("student"), kept, strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=0)
