"""Teachers whose score and probability flow are known: a Gaussian and a mixture of Gaussians.

With x = alpha x0 + sigma eps and x0 of N(m, c^2), x is of N(alpha m, v), v = alpha^2 c^2 + sigma^2,
and given x the mean of x0 is m + alpha c^2 (x - alpha m) / v, that of eps sigma (x - alpha m) / v:
both by Bayes' rule for Gaussians; of a mixture, their means over the components' posterior.

In the variables y = x / alpha and r = sigma / alpha the probability flow ODE of an eps-predicting
teacher is dy/dr = eps(y, r) (DDIM, arXiv 2010.02502, Eq. 14). Of one Gaussian, whatever the
schedule, it keeps (x - alpha m) / sqrt(v).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from hypersd.schedule import RectifiedFlow, Schedule

SCALED_LINEAR = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
FLOW = {"num_train_timesteps": 1000, "shift": 3.0}  # Stable Diffusion 3's


@dataclass(frozen=True)
class Gaussian:
    """Data N(mean, spread^2) in every element; `eps` is the exact noise prediction."""

    schedule: Schedule
    mean: float = 0.7
    spread: float = 0.4

    def eps(self, x: Tensor, t: Tensor) -> Tensor:
        a, s = _at(self.schedule, t, x)
        return s * (x - a * self.mean) / (a**2 * self.spread**2 + s**2)

    def x0(self, x: Tensor, t: Tensor) -> Tensor:
        a, s = _at(self.schedule, t, x)
        gain = a * self.spread**2 / (a**2 * self.spread**2 + s**2)
        return self.mean + gain * (x - a * self.mean)

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        """What a perfect network's output is to the schedule."""
        return self.schedule.target(self.x0(x, t), self.eps(x, t))

    def flow(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the exact ODE takes x from t to s."""
        (a_t, s_t), (a_s, s_s) = _at(self.schedule, t, x), _at(self.schedule, s, x)
        wide, narrow = (a**2 * self.spread**2 + b**2 for a, b in ((a_t, s_t), (a_s, s_s)))
        return a_s * self.mean + (narrow / wide).sqrt() * (x - a_t * self.mean)

    def predict_towards(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The prediction whose jump t -> s lands where the exact ODE does (t > s)."""
        (a_t, s_t), (a_s, s_s) = _at(self.schedule, t, x), _at(self.schedule, s, x)
        if isinstance(self.schedule, RectifiedFlow):
            return (self.flow(x, t, s) - x) / (s_s - s_t)
        return (self.flow(x, t, s) - a_s / a_t * x) / (s_s - a_s / a_t * s_t)


@dataclass(frozen=True)
class Mixture:
    """Data from a mixture of Gaussians of one spread, in one dimension: x is [B, 1, 1, 1]."""

    schedule: Schedule
    means: tuple[float, ...] = (-1.2, 0.3, 1.5)
    weights: tuple[float, ...] = (0.5, 0.2, 0.3)
    spread: float = 0.25

    def eps(self, x: Tensor, t: Tensor) -> Tensor:
        return self._expected(x, t)[1]

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        """What a perfect network's output is to the schedule."""
        return self.schedule.target(*self._expected(x, t))

    def density(self, x: Tensor, t: Tensor) -> Tensor:
        """ln p_t(x), but for a constant: what the score is the slope of."""
        a, s = _at(self.schedule, t, x)
        means = torch.tensor(self.means, dtype=x.dtype)
        variance = a**2 * self.spread**2 + s**2
        off = x[..., None] - a[..., None] * means
        logits = torch.tensor(self.weights).log() - off**2 / (2 * variance[..., None])
        return logits.logsumexp(-1) - variance.log() / 2

    def sample(self, count: int, rng: torch.Generator) -> Tensor:
        """Data, [count, 1, 1, 1] float64."""
        which = torch.multinomial(torch.tensor(self.weights), count, True, generator=rng)
        means = torch.tensor(self.means, dtype=torch.float64)[which]
        spread = torch.randn(count, generator=rng, dtype=torch.float64) * self.spread
        return (means + spread).view(-1, 1, 1, 1)

    def _expected(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """E[x0 | x_t] and E[eps | x_t]."""
        a, s = _at(self.schedule, t, x)
        means = torch.tensor(self.means, dtype=x.dtype)
        variance = (a**2 * self.spread**2 + s**2)[..., None]
        off = x[..., None] - a[..., None] * means
        logits = torch.tensor(self.weights, dtype=x.dtype).log() - off**2 / (2 * variance)
        posterior, away = logits.softmax(-1), off / variance
        x0 = means + a[..., None] * self.spread**2 * away
        return (posterior * x0).sum(-1), s * (posterior * away).sum(-1)

    def flow(self, x: Tensor, t: float, s: float) -> Tensor:
        """Where the ODE takes x from t to s, by scipy's adaptive solver to 1e-10: in y and r; in a
        rectified flow, where r has no end, dx/dt = u."""
        is_flow = isinstance(self.schedule, RectifiedFlow)
        span, start, scale = (t, s), x.flatten().numpy(), 1.0
        if not is_flow:
            alpha, sigma = (v.numpy() for v in (self.schedule.alpha, self.schedule.sigma))
            span = (sigma[t] / alpha[t], sigma[s] / alpha[s])
            start, scale = start / alpha[t], alpha[s]
        slope = self._velocity if is_flow else self._eps_of
        done = solve_ivp(slope, span, start, rtol=1e-10, atol=1e-12)
        return torch.from_numpy(done.y[:, -1] * scale).view_as(x)

    def _velocity(self, t: float, x: np.ndarray) -> np.ndarray:
        now = torch.tensor([t], dtype=torch.float64)
        found = self.predict(torch.from_numpy(x).view(-1, 1, 1, 1), now)
        return found.flatten().numpy()

    def _eps_of(self, r: float, y: np.ndarray) -> np.ndarray:
        """eps(y, r) = r (y - E[m | y]) / (c^2 + r^2), E over the components' posterior."""
        variance = self.spread**2 + r**2
        off = y[..., None] - np.array(self.means)
        logits = np.log(self.weights) - off**2 / (2 * variance)
        posterior = np.exp(logits - logits.max(-1, keepdims=True))
        posterior /= posterior.sum(-1, keepdims=True)
        return np.asarray(r * (posterior * off).sum(-1) / variance)


def _at(schedule: Schedule, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    shape = (-1, *[1] * (like.ndim - 1))
    alpha, sigma = schedule.coefficients(t)
    return alpha.to(like.dtype).view(shape), sigma.to(like.dtype).view(shape)
