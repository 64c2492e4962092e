"""Teachers whose score and probability flow are known: a Gaussian and a mixture of Gaussians.

In the variables y = x / alpha and r = sigma / alpha the probability flow ODE of an eps-predicting
teacher is dy/dr = eps(y, r) (DDIM, arXiv 2010.02502, Eq. 14). For data N(m, c^2) it is solved by
y(r) = m + (y(r0) - m) sqrt((c^2 + r^2) / (c^2 + r0^2)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from hypersd.schedule import Schedule

SCALED_LINEAR = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


@dataclass(frozen=True)
class Gaussian:
    """Data N(mean, spread^2) in every element; `eps` is the exact noise prediction."""

    schedule: Schedule
    mean: float = 0.7
    spread: float = 0.4

    def eps(self, x: Tensor, t: Tensor) -> Tensor:
        a, s = _at(self.schedule, t, x)
        return s * (x - a * self.mean) / (a**2 * self.spread**2 + s**2)

    def flow(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the exact ODE takes x from t to s."""
        (a_t, s_t), (a_s, s_s) = _at(self.schedule, t, x), _at(self.schedule, s, x)
        wide, narrow = (a**2 * self.spread**2 + b**2 for a, b in ((a_t, s_t), (a_s, s_s)))
        return a_s * self.mean + (narrow / wide).sqrt() * (x - a_t * self.mean)

    def eps_towards(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The eps whose jump t -> s lands where the exact ODE does (t > s)."""
        (a_t, s_t), (a_s, s_s) = _at(self.schedule, t, x), _at(self.schedule, s, x)
        return (self.flow(x, t, s) - a_s / a_t * x) / (s_s - a_s / a_t * s_t)


@dataclass(frozen=True)
class Mixture:
    """Data from a mixture of Gaussians of one spread, in one dimension: x is [B, 1, 1, 1]."""

    schedule: Schedule
    means: tuple[float, ...] = (-1.2, 0.3, 1.5)
    weights: tuple[float, ...] = (0.5, 0.2, 0.3)
    spread: float = 0.25

    def eps(self, x: Tensor, t: Tensor) -> Tensor:
        a, s = _at(self.schedule, t, x)
        return torch.from_numpy(self.eps_of((x / a).numpy(), (s / a).numpy()))

    def eps_of(self, y: np.ndarray, r: np.ndarray | float) -> np.ndarray:
        """eps(y, r) = r (y - E[m | y]) / (c^2 + r^2), E over the components' posterior."""
        means, variance = np.array(self.means), self.spread**2 + np.asarray(r) ** 2
        off = y[..., None] - means
        logits = np.log(self.weights) - off**2 / (2 * variance[..., None])
        posterior = np.exp(logits - logits.max(-1, keepdims=True))
        posterior /= posterior.sum(-1, keepdims=True)
        return np.asarray(r * (posterior * off).sum(-1) / variance)

    def flow(self, x: Tensor, t: int, s: int) -> Tensor:
        """Where the ODE takes x from t to s, by scipy's adaptive solver to 1e-10."""
        alpha, sigma = self.schedule.alpha.numpy(), self.schedule.sigma.numpy()
        span = (sigma[t] / alpha[t], sigma[s] / alpha[s])
        start = x.flatten().numpy() / alpha[t]
        done = solve_ivp(lambda r, y: self.eps_of(y, r), span, start, rtol=1e-10, atol=1e-12)
        return torch.from_numpy(done.y[:, -1] * alpha[s]).view_as(x)


def _at(schedule: Schedule, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    shape = (-1, *[1] * (like.ndim - 1))
    return schedule.alpha[t].view(shape), schedule.sigma[t].view(shape)
