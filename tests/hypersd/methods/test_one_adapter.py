"""One adapter for several step counts: its pull in closed form, what is drawn, when each part
begins, whose turn moves what, its resume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hypersd import checkpoint, loop
from hypersd.errors import UsageError
from hypersd.lora.reader import WEIGHT_NAME
from hypersd.methods import one_adapter
from hypersd.methods.matching import FAKE
from hypersd.methods.on_policy import Step
from hypersd.methods.one_adapter import OneAdapterTask
from hypersd.recipe import Recipe
from hypersd.rewards import panel
from hypersd.schedule import Schedule
from tests.hypersd.gaussians import SCALED_LINEAR, Gaussian
from tests.hypersd.trainings import assert_resumes_exactly, differ, rng, values

SCHEDULE = Schedule.from_config(SCALED_LINEAR)
RECIPE = Recipe(
    name="trial", method="one_adapter", steps=3, batch=3, lr=1e-2, checkpoint_every=2, trackers=[],
    data={"set": "shapes/train", "n": 6},
    options={"guidance": 3.0, "rank": 4, "fake_updates": 1, "gan": 0.2, "gan_critic": 0.5},
)  # fmt: skip


@pytest.fixture
def task(built: Callable[..., OneAdapterTask], no_previews: None) -> OneAdapterTask:
    return built(RECIPE)


@pytest.fixture
def exact(task: OneAdapterTask, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Tensor]]:
    """Known scores: the fake's of pictures around 0, the teacher's around 0.7 with the text and
    around 0.2 without it. Gives the calls, roles and times."""
    given, without = Gaussian(SCHEDULE, mean=0.7), Gaussian(SCHEDULE, mean=0.2)
    drawn, calls = Gaussian(SCHEDULE, mean=0.0), list[tuple[str, Tensor]]()

    def predict(role: str, x: Tensor, t: Tensor, text: Any) -> Tensor:
        calls.append((role, t))
        if role == FAKE:
            return drawn.eps(x, t)
        if len(x) == 3:
            return given.eps(x, t)
        return torch.cat([g.eps(*pair) for g, *pair in zip((without, given), x.chunk(2),
                                                           t.chunk(2), strict=True)])  # fmt: skip

    monkeypatch.setattr(task.student, "predict", predict)
    return calls


def step_at(task: OneAdapterTask, moves: int, done: int, x0: float = 0.0) -> Step:
    """A step whose picture is x0 everywhere."""
    times = [*task.grid.inference(moves), 0]
    batch = task.data.samples(task.base, 0, 3, 0, slice(None))
    x = torch.full_like(batch.x0, x0)
    t, s = (torch.full((3,), times[done + i]) for i in range(2))
    return Step(x, x, x.clone().requires_grad_(), t, s, moves, done, batch)


def expected_gap(task: OneAdapterTask, t: Tensor, mean: float) -> Tensor:
    """How far the exact x0 of Gaussians apart by `mean` lie apart, at equal x_t: [B, 1, 1, 1]."""
    a, s = (v.view(-1, 1, 1, 1) for v in SCHEDULE.coefficients(t))
    return mean * s**2 / (a**2 * 0.4**2 + s**2)


@pytest.mark.parametrize(("moves", "done", "factor"), [(4, 2, 2.0), (4, 0, 1.0), (1, 0, 2.0)])
def test_the_pull_is_both_gaps_each_at_its_own_noise(
    task: OneAdapterTask, exact: Any, moves: int, done: int, factor: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """(x0_fake - x0_c) and -(w - 1) (x0_c - x0_u), w = 3, half of it in the first of several; the
    floor divides all of both here."""
    monkeypatch.setattr(task, "options", replace(task.options, floor=1.0))
    at = step_at(task, moves, done)
    pull, _ = task.pull(at, rng())
    (fake, tau), (teacher, same), (both, own) = exact
    assert (fake, teacher, both) == (FAKE, "teacher", "teacher") and torch.equal(tau, same)
    own = own[:3]
    assert bool((own >= at.s.clamp(min=20)).all() and (own <= at.t.clamp(max=980)).all())
    expected = -expected_gap(task, tau, 0.7) - factor * expected_gap(task, own, 0.5)
    torch.testing.assert_close(pull, expected.expand_as(pull).float(), rtol=1e-3, atol=1e-3)


def test_together_the_pull_is_dmds(task: OneAdapterTask, exact: Any) -> None:
    """One noise level, the guided x0: 0.2 + 3 (0.7 - 0.2) apart from what is drawn."""
    task.options = replace(task.options, apart=False, floor=1.0)
    pull, _ = task.pull(step_at(task, 4, 2), rng())
    (_, tau), (_, same) = exact
    assert torch.equal(tau, same[:3])
    expected = -expected_gap(task, tau, 0.2 + 3 * 0.5)
    assert bool((pull * expected > 0).all())  # divided by more than the floor where it is large
    torch.testing.assert_close(
        pull.flatten(1)[:, :1] / pull.flatten(1), torch.ones_like(pull.flatten(1)), rtol=1e-2,
        atol=1e-2,
    )  # fmt: skip


def test_step_counts_come_by_their_shares_and_paths_by_both_samplers(
    task: OneAdapterTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [drawn(task, 0, seed, monkeypatch) for seed in range(800)]
    counts = Counter(len(times) for times, *_ in found)
    for moves, share in zip((1, 2, 4, 8), (0.35, 0.25, 0.25, 0.15), strict=True):
        assert counts[moves] / 800 == pytest.approx(share, abs=0.06)
        assert {last for times, last, _ in found if len(times) == moves} == set(range(moves))
    assert sum(renoised for *_, renoised in found) / 800 == pytest.approx(0.5, abs=0.06)


def test_times_are_the_grids_first_and_later_move_by_half_a_cell(
    task: OneAdapterTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "recipe", replace(task.recipe, steps=300))
    for seed in range(40):
        times, *_ = drawn(task, 99, seed, monkeypatch)
        assert times == task.grid.inference(len(times))
        moved, *_ = drawn(task, 100, seed, monkeypatch)
        cell = 1000 / len(moved)
        assert moved[0] == 999 and moved == sorted(moved, reverse=True)
        assert all(abs(a - b) <= cell / 2 + 1 for a, b in zip(moved, times, strict=True))
        assert len(moved) == 1 or moved != times


def drawn(
    task: OneAdapterTask, step: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[int], int, bool]:
    """What a training step draws: times of the path, the step on it, and whether it is renoised."""
    found: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            task, "step_on_path",
            lambda step, times, last, rng, renoised: found.append((times, last, renoised)),
        )  # fmt: skip
        task.student_step(step, rng(seed))
    return found[0]  # type: ignore[no-any-return]


def test_the_anchor_falls_and_pull_and_anchor_are_weighed(
    task: OneAdapterTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.3 x 0.5 mean(pull^2), and 1 -> 0.3 times the consistency loss."""
    monkeypatch.setattr(task, "recipe", replace(task.recipe, steps=100))
    monkeypatch.setattr(task, "anchor_loss", lambda at, rng: torch.tensor(2.0))
    monkeypatch.setattr(task, "pull", lambda at, rng: (torch.full_like(at.x0, 2.0), {}))
    for step, weight in ((0, 1.0), (50, 0.65)):
        total, _ = task.student_loss(step_at(task, 4, 2), step, rng())
        assert float(total.detach()) == pytest.approx(0.3 * 0.5 * 4 + weight * 2.0, rel=1e-5)


@pytest.mark.parametrize("moves", [1, 4, 8])
def test_the_anchors_jumps_stay_within_the_paths_segments(
    task: OneAdapterTask, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment ends where a path of so many steps has a time; within it any solver point is an
    end. The loss is the Huber distance of the pair."""
    seen: dict[str, Any] = {}
    real = one_adapter.consistency_pair

    def pair(x0: Tensor, draw: Any, s: Tensor, **rest: Any) -> Any:
        seen.update(index=draw.index, s=s, pair=real(x0, draw, s, **rest))
        return seen["pair"]

    monkeypatch.setattr(one_adapter, "consistency_pair", pair)
    ends = torch.tensor([0, *sorted(task.grid.inference(moves))])
    for seed in range(5):
        found = task.anchor_loss(step_at(task, moves, 0), rng(seed))
        t, lower = task.grid.timesteps[seen["index"]], task.grid.previous[seen["index"]]
        edge = ends[torch.searchsorted(ends, t) - 1]
        assert bool((edge <= seen["s"]).all() and (seen["s"] <= lower).all())
        d = seen["pair"][0] - seen["pair"][1]
        expected = ((d**2 + 1e-6).sqrt() - 1e-3).mean()
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_the_fake_is_drawn_towards_the_student(task: OneAdapterTask) -> None:
    with torch.no_grad():
        for i, role in enumerate(("student", "fake")):
            for parameter in task.student.parameters(role):
                parameter.fill_(float(i))
    task.after_step(0)
    for parameter in task.student.parameters("fake"):
        torch.testing.assert_close(parameter, torch.full_like(parameter, 0.999))


def test_the_critic_comes_in_the_last_third_at_low_noise(
    task: OneAdapterTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sees data and pictures with one noise at one t, and its loss is both cross entropies."""
    seen: list[tuple[Tensor, Tensor]] = []
    real = OneAdapterTask.logits

    def logits(self: OneAdapterTask, x_t: Tensor, t: Tensor, at: Step) -> Tensor:
        seen.append((x_t.detach(), t))
        return real(self, x_t, t, at)

    monkeypatch.setattr(OneAdapterTask, "logits", logits)
    at = step_at(task, 2, 1, 0.3).detached()
    error, scalars = task.fake_loss(at, 1, rng())
    assert not seen and not scalars
    total, scalars = task.fake_loss(at, 2, rng())
    (fake_t, t), (real_t, same) = seen
    assert torch.equal(t, same) and bool((t >= 20).all() and (t < 500).all())
    a = SCHEDULE.alpha[t].view(-1, 1, 1, 1)
    torch.testing.assert_close(
        real_t - fake_t, (a * (at.batch.x0 - at.x0)).float(), rtol=1e-3, atol=1e-3
    )
    bce = F.binary_cross_entropy_with_logits
    data, fake = (real(task, x, t, at).detach() for x in (real_t, fake_t))
    expected = bce(data, torch.ones(3)) + bce(fake, torch.zeros(3))
    torch.testing.assert_close(total, error + 0.5 * expected, rtol=1e-4, atol=1e-5)
    assert scalars["critic_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_rewards_are_asked_last_and_of_what_the_sampler_ends_with(
    built: Callable[..., OneAdapterTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel, "load_reward", lambda entry, device: lambda x, p: x.mean((1, 2, 3)))
    reward = {"kind": "aesthetic", "folder": "unused", "target": 1.0}
    options = {**RECIPE.options, "rewards": [reward], "anchor": 0.0, "anchor_end": 0.0, "gan": 0.0}
    task = built(RECIPE, steps=10, options=options)
    cases = [(8, 3), (9, 2), (9, 3)]
    rewarded = [
        "reward_aesthetic" in task.student_loss(step_at(task, 4, done), step, rng())[1]
        for step, done in cases
    ]
    assert rewarded == [False, False, True]


@pytest.fixture
def run(built: Callable[..., OneAdapterTask], tmp_path: Path) -> loop._Run:
    task = built(RECIPE, options={**RECIPE.options, "gan_from": 0.0, "fake_kept": 1.0})
    return loop._Run(task.recipe, task, tmp_path)


def test_each_turn_moves_its_own_and_the_base_stays(run: loop._Run) -> None:
    task: Any = run.task
    base = {k: v.clone() for k, v in task.base.network.state_dict().items() if ".lora_" not in k}
    assert task.turns(0) == ("student", "fake")
    parts = {"student": [task.student.parameters("student")],
             "fake": [task.student.parameters("fake"), list(task.head.parameters())]}  # fmt: skip
    for role, other in (("student", "fake"), ("fake", "student")):
        kept = [values(part) for part in parts[other]]
        was = [values(part) for part in parts[role]]
        run.turn(role, 1.0, rng())
        assert not any(differ(now, old) for now, old in zip(parts[other], kept, strict=True))
        assert all(differ(now, old) for now, old in zip(parts[role], was, strict=True))
    now = task.base.network.state_dict()
    assert all(torch.equal(now[key], value) for key, value in base.items())


def test_a_stopped_training_goes_on_with_fake_and_critic(
    task: OneAdapterTask, tmp_path: Path
) -> None:
    assert_resumes_exactly(task.recipe, OneAdapterTask, 2, WEIGHT_NAME, tmp_path)
    held = checkpoint.newest(tmp_path / "stopped")
    assert held is not None and set(held["modules"]["head"]) == set(task.head.state_dict())


@pytest.mark.parametrize(
    ("options", "says"),
    [({"moves": [1, 9]}, "must be a whole number from 1 to 8"),
     ({"moves": [1, 1]}, "holds a value twice"),
     ({"moves": [4]}, "shares has 4 numbers; must have one for each of moves, 1"),
     ({"moves": [3], "shares": [1.0]}, "3 segments do not divide solver points=40"),
     ({"full": True}, "fake_kept=0.999: must be 1 where full is true"),
     ({"anchors": 1.0}, "did you mean 'anchor'"), ({"start": 800}, "unknown key 'start'")],
)  # fmt: skip
def test_bad_options_are_one_line(
    built: Callable[..., OneAdapterTask], options: Any, says: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        built(RECIPE, options={**RECIPE.options, **options})
    assert "\n" not in str(caught.value)
