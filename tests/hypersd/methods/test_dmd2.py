"""DMD2: backward simulation in closed form, whose turn moves what, the GAN's parts, its resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from hypersd import checkpoint, loop
from hypersd.errors import UsageError
from hypersd.lora.reader import WEIGHT_NAME
from hypersd.methods.dmd2 import Dmd2Task
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule
from tests.hypersd.gaussians import SCALED_LINEAR, Gaussian
from tests.hypersd.trainings import assert_resumes_exactly, differ, rng, values

SCHEDULE = Schedule.from_config(SCALED_LINEAR)
RECIPE = Recipe(
    name="trial", method="dmd2", steps=3, batch=3, lr=1e-2, checkpoint_every=2, trackers=[],
    data={"set": "shapes/train", "n": 6},
    options={"guidance": 2.0, "rank": 4, "fake_updates": 2, "moves": 3, "gan": 0.2,
             "gan_critic": 0.5},
)  # fmt: skip


@pytest.fixture
def task(built: Callable[..., Dmd2Task], no_previews: None) -> Dmd2Task:
    return built(RECIPE)


def test_a_perfect_students_simulation_keeps_the_datas_distribution(
    task: Dmd2Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x0 by the exact flow, fresh noise, x0 again: a Gaussian stays itself after any move."""
    teacher = Gaussian(SCHEDULE)

    def exact(role: str, x: torch.Tensor, t: torch.Tensor, text: Any) -> torch.Tensor:
        a, s = (table[t].view(-1, 1, 1, 1) for table in (SCHEDULE.alpha, SCHEDULE.sigma))
        wide = (a**2 * teacher.spread**2 + s**2).sqrt()
        x0 = teacher.mean + teacher.spread / wide * (x - a * teacher.mean)
        return (x - a * x0) / s

    monkeypatch.setattr(task.student, "predict", exact)
    a, s = SCHEDULE.alpha[999], SCHEDULE.sigma[999]
    noise = [torch.randn(4000, 1, 2, 2, generator=rng(i), dtype=torch.float64) for i in range(4)]
    z = a * (teacher.mean + teacher.spread * noise[3]) + s * noise[0]
    for moves in (1, 2, 3):
        x = task.simulate(z, noise[1:moves], torch.zeros(4000, 1, 1), gradient=False)
        assert float(x.mean()) == pytest.approx(teacher.mean, abs=0.02)
        assert float(x.std()) == pytest.approx(teacher.spread, rel=0.03)


def test_only_the_last_move_has_a_gradient(task: Dmd2Task) -> None:
    with torch.no_grad():
        for parameter in task.student.parameters("student"):
            parameter.normal_(0, 0.05, generator=rng(1))
    z, first, second = (torch.randn(2, 4, 16, 16, generator=rng(i)) for i in range(3))
    text = task.base.encode_prompts(["a red star", "a blue ring"])
    task.simulate(z, [first, second], text, gradient=True).sum().backward()
    found = [p.grad.clone() for p in task.student.parameters("student")]
    for parameter in task.student.parameters("student"):
        parameter.grad = None
    x, alphas = z, task.schedule.alpha**2
    assert task.timesteps[0] == 999 and len(task.timesteps) == 3
    for now, following, noise in zip(
        task.timesteps, task.timesteps[1:], (first, second), strict=False
    ):
        with torch.no_grad():
            eps = task.student.predict("student", x, torch.full((2,), now), text)
        x0 = (x - (1 - alphas[now]).sqrt() * eps) / alphas[now].sqrt()
        x = alphas[following].sqrt() * x0 + (1 - alphas[following]).sqrt() * noise
        x = x.float()
    last = task.timesteps[2]
    eps = task.student.predict("student", x, torch.full((2,), last), text)
    ((x - (1 - alphas[last]).sqrt() * eps) / alphas[last].sqrt()).sum().backward()
    for mine, parameter in zip(found, task.student.parameters("student"), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-3, atol=1e-3)


def test_each_turn_moves_its_own_and_the_base_is_never_asked_for_a_gradient(
    task: Dmd2Task, tmp_path: Path
) -> None:
    run = loop._Run(task.recipe, task, tmp_path)
    unet = task.base.network
    base = {k: v.clone() for k, v in unet.state_dict().items() if ".lora_" not in k}
    wanted = {k: p.requires_grad for k, p in unet.named_parameters()}
    assert task.turns(0) == ("fake", "fake", "student")
    own = {"fake": [*task.student.parameters("fake"), *task.head.parameters()],
           "student": task.student.parameters("student")}  # fmt: skip
    parts = {"fake": [task.student.parameters("fake"), list(task.head.parameters())],
             "student": [own["student"]]}  # fmt: skip
    for role, other in (("fake", "student"), ("student", "fake")):
        kept, was = values(own[other]), [values(part) for part in parts[role]]
        run.turn(role, 1.0, rng())
        assert not differ(own[other], kept)
        assert all(differ(now, old) for now, old in zip(parts[role], was, strict=True))
        assert {k: p.requires_grad for k, p in unet.named_parameters()} == wanted
    assert all(p.grad is None for k, p in unet.named_parameters() if ".lora_" not in k)
    now = unet.state_dict()
    assert all(torch.equal(now[key], value) for key, value in base.items())


def test_the_fakes_loss_is_denoising_and_both_cross_entropies_at_one_noise(
    task: Dmd2Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The critic is shown data and pictures with the same noise at the same t, so that it cannot
    tell them by it (trainers that compare unlike noise levels penalise just that)."""
    seen = []
    real = Dmd2Task.logits

    def logits(self: Dmd2Task, x_t: torch.Tensor, at: Any) -> torch.Tensor:
        seen.append((x_t, at))
        return real(self, x_t, at)

    monkeypatch.setattr(Dmd2Task, "logits", logits)
    total, scalars = task.fake_loss(0, rng())
    (fake_t, at), (real_t, _) = seen
    a, s = (table[at.t].view(-1, 1, 1, 1) for table in (task.schedule.alpha, task.schedule.sigma))
    within = at.t < 999  # where pure noise is not swapped in
    torch.testing.assert_close((real_t - fake_t)[within], (a * (at.data - at.x)).float()[within],
                               rtol=1e-3, atol=1e-3)  # fmt: skip
    torch.testing.assert_close(fake_t, (a * at.x + s * at.eps).float(), rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        fake, data = real(task, fake_t, at), real(task, real_t, at)
        error = F.mse_loss(task.student.predict("fake", fake_t, at.t, at.text), at.eps)
    bce = F.binary_cross_entropy_with_logits
    expected = bce(data, torch.ones(3)) + bce(fake, torch.zeros(3))
    torch.testing.assert_close(total.detach(), error + 0.5 * expected, rtol=1e-4, atol=1e-5)
    assert scalars["critic_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_the_critic_learns_to_tell_data_from_pictures(task: Dmd2Task, tmp_path: Path) -> None:
    run = loop._Run(replace(task.recipe, lr=3e-3), task, tmp_path)
    first = run.turn("fake", 1.0, rng())["critic_loss"]
    for _ in range(12):
        last = run.turn("fake", 1.0, rng())["critic_loss"]
    assert last < 0.8 * first


def test_a_stopped_training_goes_on_with_fake_and_critic(task: Dmd2Task, tmp_path: Path) -> None:
    recipe = replace(task.recipe, options={**task.recipe.options, "fake_updates": 1})
    assert_resumes_exactly(recipe, Dmd2Task, 2, WEIGHT_NAME, tmp_path)
    held = checkpoint.newest(tmp_path / "stopped")
    assert held is not None
    assert any(".fake." in key for key in held["modules"]["unet"])
    assert set(held["modules"]["head"]) == set(task.head.state_dict())
    assert len(held["extra"]["optimizers"]["fake"]["state"]) == len(
        task.student.parameters("fake")
    ) + len(list(task.head.parameters()))


@pytest.mark.parametrize(
    ("options", "says"),
    [({"mse": 0.1}, "unknown key 'mse'"), ({"moves": 9}, "must be a whole number from 1 to 8"),
     ({"gann": 1.0}, "did you mean 'gan'"), ({"rewards": []}, "unknown key 'rewards'")],
)  # fmt: skip
def test_bad_options_are_one_line(tiny_base: Path, options: Any, says: str) -> None:
    bad = replace(RECIPE, base=str(tiny_base), options={**RECIPE.options, **options})
    with pytest.raises(UsageError, match=says) as caught:
        loop.build(bad, torch.device("cpu"))
    assert "\n" not in str(caught.value)
