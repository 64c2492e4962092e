"""Few-step samplers over the jump: free functions, every random tensor passed in.

Legend: `timesteps` descend from T - 1; a sampler goes from each to the next and from the last one
to t = 0. `noise` holds one tensor like x for each step but the last. `model(x, t)` gives eps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hypersd.schedule import Schedule
from hypersd.solver import Denoiser

TIMESTEP_SCALING = 10.0
SIGMA_DATA = 0.5


def sample_jumps(
    model: Denoiser,
    x: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    *,
    eta: float = 0.0,
    noise: Sequence[Tensor] = (),
) -> Tensor:
    """TCD's strategic stochastic sampling; eta = 0 is deterministic DDIM, eta = 1 re-noises x0.

    Each step jumps to s = floor((1 - eta) t_next), then takes the forward process up to t_next
    with fresh noise; none on the last step. eta is the paper's gamma.
    Source: TCD (arXiv 2402.19159), Algorithm 4. Returns latents like x, fp32.
    """
    for i, now in enumerate(timesteps):
        following = timesteps[i + 1] if i + 1 < len(timesteps) else 0
        t, goal, s = (_full(x, v) for v in (now, following, int((1 - eta) * following)))
        x = schedule.jump(x, model(x, t), t, s)
        if eta > 0 and following > 0:
            x = schedule.renoise(x, noise[i], goal, s)
    return x


def sample_consistency(
    model: Denoiser,
    x: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    *,
    noise: Sequence[Tensor] = (),
) -> Tensor:
    """LCM's multistep sampling: predict x0, diffuse it to the next timestep with fresh noise.

    Source: LCM (arXiv 2310.04378), Algorithm 3. Returns latents like x, fp32.
    """
    for i, now in enumerate(timesteps):
        t = _full(x, now)
        x = consistency_function(x, model(x, t), t, schedule)
        if i + 1 < len(timesteps):
            x = schedule.renoise(x, noise[i], _full(x, timesteps[i + 1]))
    return x


def consistency_function(x_t: Tensor, eps: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """f(x_t, t) = c_skip(t) x_t + c_out(t) x0, with f(x, 0) = x.

    c_skip = d^2 / ((10 t)^2 + d^2), c_out = 10 t / sqrt((10 t)^2 + d^2), d = 0.5: a step at t = 0
    in all but name. Source: LCM (arXiv 2310.04378), Sec. 4.1; the scaling 10 is of its release.
    """
    x0 = schedule.x0_from_eps(x_t, eps, t)
    scaled = (t.to(x0.dtype) * TIMESTEP_SCALING).view(-1, *[1] * (x0.ndim - 1))
    norm = scaled**2 + SIGMA_DATA**2
    return SIGMA_DATA**2 / norm * x_t.to(x0.dtype) + scaled / norm.sqrt() * x0


def _full(x: Tensor, t: int) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.long, device=x.device)
