"""Few-step samplers over the jump: free functions, every random tensor passed in.

Legend: `timesteps` descend from pure noise; a sampler goes from each to the next and from the last
one to t = 0. `noise` holds one tensor like x for each step but the last. `model(x, t)` gives the
schedule's prediction.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hypersd.clock import Time
from hypersd.schedule import Schedule
from hypersd.solver import Denoiser


def sample_jumps(
    model: Denoiser,
    x: Tensor,
    timesteps: Sequence[Time],
    schedule: Schedule,
    *,
    eta: float = 0.0,
    noise: Sequence[Tensor] = (),
) -> Tensor:
    """TCD's strategic stochastic sampling; eta = 0 is deterministic (DDIM, Euler's method in a
    rectified flow), eta = 1 re-noises x0.

    Each step jumps to s = (1 - eta) t_next (a timestep: rounded down), then takes the forward
    process up to t_next with fresh noise; none on the last step. eta is the paper's gamma.
    Source: TCD (arXiv 2402.19159), Algorithm 4. Returns latents like x, fp32.
    """
    clock = schedule.clock
    for i, now in enumerate(timesteps):
        following = timesteps[i + 1] if i + 1 < len(timesteps) else 0
        times = (now, following, clock.part(following, 1 - eta))
        t, goal, s = (clock.full(x, v) for v in times)
        x = schedule.jump(x, model(x, t), t, s)
        if eta > 0 and following > 0:
            x = schedule.renoise(x, noise[i], goal, s)
    return x


def sample_consistency(
    model: Denoiser,
    x: Tensor,
    timesteps: Sequence[Time],
    schedule: Schedule,
    *,
    noise: Sequence[Tensor] = (),
) -> Tensor:
    """LCM's multistep sampling: predict x0, diffuse it to the next timestep with fresh noise.

    Source: LCM (arXiv 2310.04378), Algorithm 3. Returns latents like x, fp32.
    """
    for i, now in enumerate(timesteps):
        t = schedule.clock.full(x, now)
        x = schedule.consistency(x, model(x, t), t)
        if i + 1 < len(timesteps):
            x = schedule.renoise(x, noise[i], schedule.clock.full(x, timesteps[i + 1]))
    return x
