"""Few-step samplers against diffusers' DDIM, TCD and LCM schedulers, with the same noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler, TCDScheduler

from hypersd.sampler import sample_consistency, sample_jumps
from hypersd.schedule import Schedule
from hypersd.solver import SolverGrid
from tests.hypersd.gaussians import SCALED_LINEAR, Gaussian

SCHEDULE = Schedule.from_config(SCALED_LINEAR)
SHAPE = (3, 4, 5, 5)
STEPS = (1, 2, 4, 8)


def model(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Some smooth function of both arguments, bounded as noise is."""
    return torch.tanh(x) + 0.3 * torch.sin(t / 100.0).view(-1, 1, 1, 1)


def reference(scheduler: Any, steps: int, **settings: Any) -> tuple[torch.Tensor, ...]:
    """What diffusers' scheduler draws, the start it had and the noise it took."""
    scheduler.set_timesteps(steps)
    rng = torch.Generator().manual_seed(3)
    start = x = torch.randn(SHAPE, generator=rng)
    state = rng.get_state()
    for t in scheduler.timesteps:
        x = scheduler.step(model(x, t.repeat(len(x))), t, x, generator=rng, **settings).prev_sample
    rng.set_state(state)
    return x, start, *(torch.randn(SHAPE, generator=rng) for _ in range(steps - 1))


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", STEPS)
def test_deterministic_jumps_are_ddim(steps: int) -> None:
    fixed = {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "trailing"}
    expected, start, *_ = reference(DDIMScheduler(**SCALED_LINEAR, **fixed), steps)
    close(sample_jumps(model, start, SolverGrid(40).inference(steps), SCHEDULE), expected)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("eta", [0.0, 0.3, 0.5, 1.0])
def test_strategic_sampling_is_tcds(steps: int, eta: float) -> None:
    scheduler = TCDScheduler(**SCALED_LINEAR, original_inference_steps=40)
    expected, start, *noise = reference(scheduler, steps, eta=eta)
    timesteps = SolverGrid(40).inference(steps)
    close(sample_jumps(model, start, timesteps, SCHEDULE, eta=eta, noise=noise), expected)


@pytest.mark.parametrize("steps", STEPS)
def test_consistency_sampling_is_lcms(steps: int) -> None:
    scheduler = LCMScheduler(**SCALED_LINEAR, original_inference_steps=40)
    expected, start, *noise = reference(scheduler, steps)
    timesteps = SolverGrid(40).inference(steps)
    close(sample_consistency(model, start, timesteps, SCHEDULE, noise=noise), expected)


def test_one_exact_jump_draws_the_datas_distribution() -> None:
    """With the eps that leads to the ODE's end, noise becomes N(m, c^2) in one step."""
    teacher = Gaussian(SCHEDULE)
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(20000, 1, 1, 1, generator=rng, dtype=torch.float64)
    alpha, sigma = SCHEDULE.alpha[999], SCHEDULE.sigma[999]
    start = alpha * teacher.mean + x * ((alpha * teacher.spread) ** 2 + sigma**2).sqrt()
    end = sample_jumps(
        lambda x, t: teacher.predict_towards(x, t, torch.zeros_like(t)), start, [999], SCHEDULE
    )
    assert float(end.mean()) == pytest.approx(teacher.mean, abs=0.01)
    assert float(end.std()) == pytest.approx(teacher.spread, abs=0.01)
