"""The rectified flow against diffusers' flow matching schedulers, closed forms and scipy; what
holds for both schedules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchLCMScheduler

from hypersd.errors import UsageError
from hypersd.losses import distribution_matching_loss
from hypersd.sampler import sample_consistency, sample_jumps
from hypersd.schedule import RectifiedFlow, Schedule
from hypersd.solver import SolverGrid, ode_solution
from tests.hypersd.gaussians import FLOW, SCALED_LINEAR, Gaussian, Mixture

SCHEDULE = Schedule.from_config(FLOW)
BOTH = pytest.mark.parametrize("schedule", [Schedule.from_config(SCALED_LINEAR), SCHEDULE],
                               ids=["preserving", "flow"])  # fmt: skip
SHAPE = (5, 4, 3, 3)
STEPS = (1, 2, 4, 8)


def latents(seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE, generator=rng, dtype=torch.float64).to(dtype)


def euler(steps: int, kind: Any = FlowMatchEulerDiscreteScheduler) -> Any:
    """Trailing spacing, as FLUX's pipeline asks for it; SD3's takes it as `sigmas`."""
    scheduler = kind(**FLOW)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist())
    return scheduler


@pytest.mark.parametrize("steps", [*STEPS, 40])
def test_grid_is_the_shifted_trailing_spacing_of_diffusers(steps: int) -> None:
    scheduler, grid = euler(steps), SolverGrid(steps, SCHEDULE.clock)
    torch.testing.assert_close(grid.timesteps.flip(0), scheduler.sigmas[:-1])
    torch.testing.assert_close(1000 * grid.timesteps.flip(0), scheduler.timesteps)
    assert grid.previous.tolist() == [0.0, *grid.timesteps[:-1].tolist()]
    assert grid.inference(steps)[0] == SCHEDULE.clock.pure == 1.0


@pytest.mark.parametrize("steps", STEPS)
def test_a_jump_is_an_euler_step(steps: int) -> None:
    scheduler, grid = euler(steps), SolverGrid(steps, SCHEDULE.clock)
    x, velocity = latents(0), latents(1)
    for t, (now, below) in zip(
        scheduler.timesteps, zip(grid.timesteps.flip(0), grid.previous.flip(0), strict=True),
        strict=True,
    ):  # fmt: skip
        expected = scheduler.step(velocity, t, x).prev_sample
        found = SCHEDULE.jump(x, velocity, now.repeat(5), below.repeat(5))
        torch.testing.assert_close(found, expected)


def test_the_forward_process_is_that_of_diffusers() -> None:
    scheduler, (x0, eps) = euler(4), (latents(0), latents(1))
    t = torch.tensor([*scheduler.sigmas[:4].tolist(), 0.0])
    expected = scheduler.scale_noise(x0[:4], scheduler.timesteps, eps[:4])
    torch.testing.assert_close(SCHEDULE.diffuse(x0, eps, t)[:4], expected)
    assert torch.equal(SCHEDULE.diffuse(x0, eps, t)[0], eps[0])
    assert torch.equal(SCHEDULE.diffuse(x0, eps, t)[4], x0[4])


def test_x0_is_exact_from_the_velocity_at_pure_noise_too() -> None:
    """Where x0 from eps is 0/0."""
    t = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    x0, eps = latents(0), latents(1)
    x_t, velocity = SCHEDULE.diffuse(x0, eps, t), SCHEDULE.target(x0, eps)
    torch.testing.assert_close(SCHEDULE.x0(x_t, velocity, t), x0, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(SCHEDULE.jump(x_t, velocity, t, t * 0), x0, rtol=1e-5, atol=1e-5)
    again = SCHEDULE.prediction(x0[1:], x_t[1:], t[1:], "sample")
    torch.testing.assert_close(again, velocity[1:], rtol=1e-4, atol=1e-4)
    assert torch.equal(SCHEDULE.consistency(x_t, velocity, t)[0], x0[0])


@BOTH
def test_renoising_gives_the_forward_marginal(schedule: Schedule) -> None:
    """From alpha_s x0 + sigma_s z the mean is alpha_t x0, the variance sigma_t^2."""
    grid = SolverGrid(40, schedule.clock)
    s, t = grid.timesteps[[0, 3, 19, 38, 20]], grid.timesteps[[1, 30, 19, 39, 39]]
    one, zero = torch.ones(5, 1, dtype=torch.float64), torch.zeros(5, 1, dtype=torch.float64)
    kept, spread = schedule.renoise(one, zero, t, s), schedule.renoise(zero, one, t, s)
    (a_s, s_s), (a_t, s_t) = ([v.double()[:, None] for v in schedule.coefficients(at)]
                              for at in (s, t))  # fmt: skip
    torch.testing.assert_close(kept * a_s, a_t)
    torch.testing.assert_close((kept * s_s) ** 2 + spread**2, s_t**2)
    torch.testing.assert_close(schedule.renoise(one, one, t), a_t + s_t)


@BOTH
def test_a_jumps_landing_multiplies_an_error_as_it_says(schedule: Schedule) -> None:
    grid = SolverGrid(40, schedule.clock)
    t, s = grid.timesteps[[1, 10, 20, 30, 39]], grid.previous[[1, 2, 20, 0, 12]]
    x, right, off = (latents(seed, torch.float64) for seed in range(3))
    moved = schedule.jump(x, right + off, t, s) - schedule.jump(x, right, t, s)
    scale = -schedule.landing(t, s).double().view(-1, 1, 1, 1)
    torch.testing.assert_close(moved, scale * off, rtol=1e-6, atol=1e-7)


@BOTH
def test_times_of_a_phase_are_within_it(schedule: Schedule) -> None:
    grid, clock = SolverGrid(40, schedule.clock), schedule.clock
    for phases in (1, 2, 4, 8):
        s = grid.previous[:: 40 // phases]
        upper = torch.cat([s[1:], torch.tensor([clock.pure])])
        for u in (0.0, 0.5, 0.999):
            level = clock.above(s, torch.full((phases,), u), phases)
            assert bool((s <= level).all()) and bool((level <= upper + 1e-6).all())
        assert torch.allclose(clock.above(s, torch.zeros(phases), phases).double(), s.double())


@BOTH
def test_drawn_times_are_spread_as_the_grid_is(schedule: Schedule) -> None:
    """Quantiles of random times are the grid's points."""
    drawn = schedule.clock.draw(0.0, 1.0, 40_000, torch.Generator().manual_seed(0))
    found = torch.quantile(drawn.double(), torch.arange(1, 10).double() / 10)
    expected = SolverGrid(10, schedule.clock).timesteps[:9].double()
    assert float(((found - expected) / schedule.clock.pure).abs().max()) < 0.01
    narrow = schedule.clock.draw(0.02, 0.98, 40_000, torch.Generator().manual_seed(0))
    low, high = schedule.clock.at(0.02), schedule.clock.at(0.98)
    assert low <= narrow.min() and narrow.max() <= high


@BOTH
def test_a_step_of_the_ode_converges_to_a_gaussians_exact_flow(schedule: Schedule) -> None:
    """First order: the error falls with the step size."""
    teacher = Gaussian(schedule)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1, 1)
    t, s = (schedule.clock.full(x, v) for v in (schedule.clock.pure, 0))
    exact = teacher.flow(x, t, s)
    errors = []
    for points in (40, 200, 1000):
        timesteps = SolverGrid(points, schedule.clock).inference(points)
        found = sample_jumps(teacher.predict, x, timesteps, schedule)
        errors.append(float((found - exact).abs().max()))
    assert errors[2] < 4e-3
    assert errors[0] / errors[1] > 4 and errors[1] / errors[2] > 4
    fine = ode_solution(teacher.predict, x, t, s, schedule, steps=500)
    assert float((fine - exact).abs().max()) < 2e-2


@BOTH
def test_the_mixtures_ode_ends_where_scipys_solver_does(schedule: Schedule) -> None:
    teacher = Mixture(schedule)
    z = torch.linspace(-1.5, 1.5, 9, dtype=torch.float64).view(-1, 1, 1, 1)
    timesteps = SolverGrid(1000, schedule.clock).inference(1000)
    found = sample_jumps(teacher.predict, z, timesteps, schedule)
    assert float((found - teacher.flow(z, schedule.clock.pure, 0)).abs().max()) < 0.02


@BOTH
def test_predictions_are_the_slope_of_the_mixtures_density(schedule: Schedule) -> None:
    """Tweedie: x0 = (x + sigma^2 d ln p / dx) / alpha, the slope by automatic differentiation."""
    teacher, grid = Mixture(schedule), SolverGrid(10, schedule.clock)
    t = grid.timesteps[1:9]
    x = torch.linspace(-2, 2, 8, dtype=torch.float64).view(-1, 1, 1, 1).requires_grad_()
    (score,) = torch.autograd.grad(teacher.density(x, t).sum(), x)
    a, s = (v.double().view(-1, 1, 1, 1) for v in schedule.coefficients(t))
    expected = (x + s**2 * score) / a
    found = schedule.x0(x.detach(), teacher.predict(x.detach(), t), t)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-6)


@BOTH
def test_distribution_matching_pulls_along_the_difference_of_scores(schedule: Schedule) -> None:
    """DMD (arXiv 2311.18828), Eq. 7: a sample's gradient is (s_fake - s_real) sigma^2 / alpha,
    normalised; both densities' slopes by automatic differentiation."""
    real, fake = Mixture(schedule), Mixture(schedule, means=(-0.8, 0.1, 1.0), spread=0.4)
    rng = torch.Generator().manual_seed(0)
    t = schedule.clock.draw(0.02, 0.98, 6, rng)
    x0 = torch.linspace(-2, 2, 6, dtype=torch.float64).view(-1, 1, 1, 1).requires_grad_()
    noise = torch.randn(6, 1, 1, 1, generator=rng, dtype=torch.float64)
    x_t = schedule.renoise(x0.detach(), noise, t)
    of = [schedule.x0(x_t, teacher.predict(x_t, t), t) for teacher in (fake, real)]
    distribution_matching_loss(x0, *of).sum().backward()
    at = x_t.clone().requires_grad_()
    scores = [torch.autograd.grad(m.density(at, t).sum(), at)[0] for m in (fake, real)]
    a, s = (v.double().view(-1, 1, 1, 1) for v in schedule.coefficients(t))
    expected = (scores[0] - scores[1]) * s**2 / a / (x0 - of[1]).abs()
    torch.testing.assert_close(x0.grad, expected.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("kind", [FlowMatchEulerDiscreteScheduler, FlowMatchLCMScheduler])
def test_samplers_are_those_of_diffusers(steps: int, kind: Any) -> None:
    def model(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x) + 0.3 * torch.sin(10 * t).view(-1, 1, 1, 1)

    scheduler, start = euler(steps, kind), latents(0)
    rng, x = torch.Generator().manual_seed(3), start
    for t in scheduler.timesteps:
        velocity = model(x, t.repeat(len(x)) / 1000)
        x = scheduler.step(velocity, t, x, generator=rng).prev_sample
    rng.manual_seed(3)
    timesteps = SolverGrid(40, SCHEDULE.clock).inference(steps)
    if kind is FlowMatchLCMScheduler:
        noise = [torch.randn(SHAPE, generator=rng) for _ in range(steps - 1)]
        found = sample_consistency(model, start, timesteps, SCHEDULE, noise=noise)
    else:
        found = sample_jumps(model, start, timesteps, SCHEDULE)
    torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_exact_jumps_draw_the_datas_distribution_at_any_eta(eta: float) -> None:
    """Of a Gaussian that is in the middle of noise, with what TCD's sampler adds."""
    teacher = Gaussian(SCHEDULE)
    rng = torch.Generator().manual_seed(0)
    x, *noise = (torch.randn(20_000, 1, 1, 1, generator=rng, dtype=torch.float64)
                 for _ in range(4))  # fmt: skip
    timesteps = SolverGrid(4, SCHEDULE.clock).inference(4)
    ends = {t: (1 - eta) * s for t, s in zip(timesteps, [*timesteps[1:], 0.0], strict=True)}

    def perfect(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return teacher.predict_towards(x, t, torch.full_like(t, ends[t[0].item()]))

    end = sample_jumps(perfect, x, timesteps, SCHEDULE, eta=eta, noise=noise)
    assert float(end.mean()) == pytest.approx(teacher.mean, abs=0.02)
    assert float(end.std()) == pytest.approx(teacher.spread, abs=0.01)


def test_a_shift_that_depends_on_the_size_is_refused() -> None:
    assert isinstance(SCHEDULE, RectifiedFlow) and SCHEDULE.shift == 3.0
    with pytest.raises(UsageError, match="use_dynamic_shifting"):
        Schedule.from_config({**FLOW, "use_dynamic_shifting": True})
