"""Grid and segments by their invariants; the ODE step against exact and scipy's solutions."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler, TCDScheduler

from hypersd.errors import UsageError
from hypersd.schedule import Schedule
from hypersd.solver import Denoiser, SolverGrid, guided, ode_solution
from tests.hypersd.gaussians import SCALED_LINEAR, Gaussian, Mixture

SCHEDULE = Schedule.from_config(SCALED_LINEAR)
SEGMENTS = (1, 2, 4, 8)
POINTS = (8, 16, 40, 80)


def trailing(steps: int) -> list[int]:
    scheduler = DDIMScheduler(**SCALED_LINEAR, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    return scheduler.timesteps.tolist()


@pytest.mark.parametrize("points", [*POINTS, 50])
def test_grid_is_the_trailing_spacing(points: int) -> None:
    grid = SolverGrid(points)
    assert grid.timesteps.tolist() == trailing(points)[::-1]
    assert grid.previous.tolist() == [0, *grid.timesteps[:-1].tolist()]


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("segments", SEGMENTS)
def test_segments_hold_their_invariant(points: int, segments: int) -> None:
    """t_b <= s <= t_prev < t for every index and every draw, the largest u below 1 included."""
    grid = SolverGrid(points)
    draws = torch.cat([torch.linspace(0, 0.999, 101), torch.tensor([1 - 2**-24])])
    index = torch.arange(points).repeat_interleave(len(draws))
    s = grid.end(index, draws.repeat(points), segments)
    low = grid.previous[grid.first(index, segments)]
    assert bool((low <= s).all())
    assert bool((s <= grid.previous[index]).all())
    assert bool((grid.previous[index] < grid.timesteps[index]).all())
    assert set(s.tolist()) <= {0, *grid.timesteps.tolist()}


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("segments", SEGMENTS)
def test_segment_edges_are_the_few_step_timesteps(points: int, segments: int) -> None:
    """A segment starts where the k-step inference grid does, so no jump crosses an edge."""
    grid = SolverGrid(points)
    first = grid.first(torch.arange(points), segments).unique()
    assert grid.previous[first].tolist() == [0, *trailing(segments)[:0:-1]]
    assert grid.inference(segments) == trailing(segments)


def test_edges_of_the_papers_grid() -> None:
    grid = SolverGrid(40)
    edges = grid.previous[grid.first(torch.arange(40), 8).unique()].tolist()
    assert edges == [0, 124, 249, 374, 499, 624, 749, 874]
    assert {249, 499, 749, 999} <= set(grid.timesteps.tolist())


def test_every_end_is_as_likely() -> None:
    grid = SolverGrid(40)
    u = (torch.arange(900) + 0.5) / 900
    for index, segments, count in ((39, 1, 40), (12, 8, 3), (10, 8, 1), (29, 2, 10)):
        s = grid.end(torch.full((900,), index), u, segments)
        values, counts = s.unique(return_counts=True)
        assert len(values) == count
        assert int(counts.max() - counts.min()) <= 1
        assert int(values.max()) == int(grid.previous[index])


@pytest.mark.parametrize("steps", range(1, 41))
def test_inference_timesteps_are_those_of_diffusers(steps: int) -> None:
    for kind in (LCMScheduler, TCDScheduler):
        scheduler = kind(**SCALED_LINEAR, original_inference_steps=40)
        scheduler.set_timesteps(steps)
        assert SolverGrid(40).inference(steps) == scheduler.timesteps.tolist()


def test_what_does_not_divide_is_refused() -> None:
    for points, segments in ((50, 8), (40, 3), (40, 0)):
        with pytest.raises(UsageError, match=f"{segments} segments do not divide"):
            SolverGrid(points).check_segments(segments)
    with pytest.raises(UsageError, match="points=0"):
        SolverGrid(0)
    with pytest.raises(UsageError, match="steps=41"):
        SolverGrid(40).inference(41)


def test_guidance_is_imagens_and_one_call() -> None:
    """2 + w (c - u) for a network that returns its text's mean; w = 1 never sees the empty text."""
    calls: list[int] = []

    def network(x: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return x * 0 + text.mean((1, 2)).view(-1, 1, 1, 1) + t.view(-1, 1, 1, 1)

    x, t = torch.zeros(3, 4, 2, 2), torch.tensor([0, 10, 20])
    text, empty = torch.full((3, 5, 7), 3.0), torch.full((1, 5, 7), 2.0)
    expected = (t.float() + 2.0 + 7.5 * (3.0 - 2.0)).view(-1, 1, 1, 1).expand_as(x)
    torch.testing.assert_close(guided(network, x, t, text, empty, 7.5), expected)
    plain = guided(network, x, t, text, empty, 1.0)
    torch.testing.assert_close(plain, (t.float() + 3.0).view(-1, 1, 1, 1).expand_as(x))
    assert calls == [6, 3]


def integrate(eps: Denoiser, x: torch.Tensor, points: int, last: int) -> torch.Tensor:
    """ODE steps over the grid from T - 1 down to the timestep `last`."""
    grid = SolverGrid(points)
    for t, s in zip(grid.timesteps.flip(0), grid.previous.flip(0), strict=True):
        if t <= last:
            break
        x = ode_solution(eps, x, t.repeat(len(x)), s.repeat(len(x)), SCHEDULE)
    return x


def test_ode_steps_converge_to_a_gaussians_exact_flow() -> None:
    """First order: the error falls with the step size, by 25 from 40 points to 1,000."""
    teacher = Gaussian(SCHEDULE)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1, 1)
    exact = teacher.flow(x, torch.tensor([999]), torch.tensor([0]))
    errors = [float((integrate(teacher.eps, x, n, 0) - exact).abs().max()) for n in (40, 200, 1000)]
    assert errors[2] < 4e-3
    assert errors[0] / errors[1] > 4
    assert errors[1] / errors[2] > 4


def test_ode_steps_converge_to_scipys_solution_for_a_mixture() -> None:
    teacher = Mixture(SCHEDULE)
    x = torch.linspace(-2, 2, 8, dtype=torch.float64).view(-1, 1, 1, 1)
    exact = teacher.flow(x, 999, 249)
    errors = [float((integrate(teacher.eps, x, n, 249) - exact).abs().max()) for n in (40, 1000)]
    assert errors[1] < 5e-3
    assert errors[0] / errors[1] > 10


def test_steps_within_one_interval_are_those_of_a_finer_grid() -> None:
    """Five moves from each point of 8 are the moves of a grid of 40; samples go their own ways."""
    teacher, coarse, fine = Gaussian(SCHEDULE), SolverGrid(8), SolverGrid(40)
    x = torch.linspace(-2, 2, 7, dtype=torch.float64).view(-1, 1, 1, 1)
    found = ode_solution(
        teacher.eps, x, coarse.timesteps[1:], coarse.previous[1:], SCHEDULE, steps=5
    )
    for i, (start, end) in enumerate(zip(coarse.timesteps[1:], coarse.previous[1:], strict=True)):
        one = x[i : i + 1]
        for t, s in zip(fine.timesteps.flip(0), fine.previous.flip(0), strict=True):
            if end < t <= start:
                one = ode_solution(teacher.eps, one, t[None], s[None], SCHEDULE)
        torch.testing.assert_close(found[i : i + 1], one, rtol=1e-3, atol=1e-3)
