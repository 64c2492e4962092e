"""Noise schedules: the only module that computes with alphas.

Legend: x_t = alpha_t x0 + sigma_t eps at a time t of the schedule's clock (`hypersd.clock`), x0
clean latents, eps noise; s is a time a jump lands on, s <= t. B, C, H, W are batch, channels,
height, width.

What teachers and students predict, and everything else here is made from, is a schedule's own: eps
where the variance is preserved, the velocity u = eps - x0 in a rectified flow, where x0 from eps is
0/0 at pure noise. Other outputs of a network are turned into it first (`prediction`).

Maths is done in float32 at least (in float64 for float64 inputs), whatever the network's precision:
at t = 999 of SD's table the step eps -> x0 multiplies an error by 1/alpha_t = 14.65.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hypersd.clock import Clock, Shifted, Timesteps
from hypersd.errors import UsageError, nearest

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")
FLOW = "flow_prediction"
TIMESTEP_SCALING = 10.0
SIGMA_DATA = 0.5


class Schedule(ABC):
    """A forward process, and moves along its probability flow.

    In all methods t and s are times of `clock`, [B] or of one element; other tensors are [B, ...]
    of one shape, and so is what comes back.  prediction_type: what the network gives.
    """

    prediction_type: str

    @property
    @abstractmethod
    def clock(self) -> Clock:
        """Which times there are."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """The schedule of a diffusers scheduler's config: SD's and SDXL's "scaled_linear", SD3's
        flow matching.

        Raises UsageError for one that is not known here.
        """
        kind = RectifiedFlow if "shift" in config and "beta_start" not in config else None
        return (kind or VariancePreserving).from_config(config)

    def to(self, device: torch.device | str) -> Schedule:
        """The same schedule on a device."""
        return self

    @abstractmethod
    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t, [B]."""

    def snr(self, t: Tensor) -> Tensor:
        """Signal to noise ratio alpha_t^2 / sigma_t^2."""
        alpha, sigma = self.coefficients(t)
        return (alpha / sigma) ** 2

    @abstractmethod
    def diffuse(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t of the forward process; pure noise at the clock's `pure`."""

    @abstractmethod
    def renoise(self, x_s: Tensor, noise: Tensor, t: Tensor, s: Tensor | None = None) -> Tensor:
        """The forward process from s up to t >= s, with fresh noise; from clean latents where s is
        None."""

    @abstractmethod
    def jump(self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """alpha_s x0 + sigma_s eps, x0 and eps as predicted at x_t; x_t itself at s = t."""

    @abstractmethod
    def landing(self, t: Tensor, s: Tensor) -> Tensor:
        """c(t, s) >= 0, by which a jump t -> s multiplies an error of the prediction: [B]."""

    @abstractmethod
    def x0(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """The predicted x0."""

    @abstractmethod
    def target(self, x0: Tensor, eps: Tensor) -> Tensor:
        """The prediction that is right for x0 and eps."""

    @abstractmethod
    def prediction(
        self, output: Tensor, x_t: Tensor, t: Tensor, prediction_type: str | None = None
    ) -> Tensor:
        """The prediction from what a network gives, by a type (default: the schedule's)."""

    @abstractmethod
    def consistency(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """LCM's consistency function f(x_t, t): x0, with f(x, 0) = x."""


@dataclass(frozen=True, eq=False)
class VariancePreserving(Schedule):
    """Tables alpha and sigma, [T] float64, alpha^2 + sigma^2 = 1; t are their indices. Predicted
    is eps; v = alpha_t eps - sigma_t x0."""

    alpha: Tensor
    sigma: Tensor
    prediction_type: str = "epsilon"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> VariancePreserving:
        """As `Schedule.from_config`.

        Raises UsageError for a beta schedule or a prediction type that is not known here, and
        for a zero terminal SNR, where eps -> x0 is 0/0.
        """
        kind = config.get("prediction_type", "epsilon")
        if kind not in PREDICTION_TYPES:
            raise UsageError(f"scheduler: prediction_type {kind!r}; "
                             + nearest(str(kind), PREDICTION_TYPES))  # fmt: skip
        if config.get("rescale_betas_zero_snr"):
            raise UsageError(
                "scheduler: rescale_betas_zero_snr=True is not supported; valid: False"
            )
        acp = torch.cumprod(1.0 - _betas(config), dim=0)
        return cls(acp.sqrt(), (1.0 - acp).sqrt(), kind)

    @cached_property
    def clock(self) -> Timesteps:
        """0 .. T - 1."""
        return Timesteps(len(self.alpha))

    def to(self, device: torch.device | str) -> VariancePreserving:
        """The same schedule on a device; float32 where that has no float64 (mps)."""
        device = torch.device(device)
        dtype = torch.float32 if device.type == "mps" else torch.float64
        alpha, sigma = self.alpha.to(device, dtype), self.sigma.to(device, dtype)
        return VariancePreserving(alpha, sigma, self.prediction_type)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """In the tables' precision."""
        return self.alpha[t], self.sigma[t]

    def diffuse(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t of the forward process, but pure noise at t = T - 1.

        Inference starts from pure noise, while alpha_999 = 0.068 would leak the picture's mean
        into training. Source: SDXL-Lightning (arXiv 2402.13929), Eq. 24.
        """
        a, s = self._at(t, x0)
        last = (t == self.clock.pure).view(a.shape)
        return torch.where(last, _wide(eps), a * _wide(x0) + s * _wide(eps))

    def renoise(self, x_s: Tensor, noise: Tensor, t: Tensor, s: Tensor | None = None) -> Tensor:
        """r x_s + sqrt(1 - r^2) noise, r = alpha_t / alpha_s. Plain: pure noise is `diffuse`'s."""
        ratio = self.alpha[t] if s is None else self.alpha[t] / self.alpha[s]
        spread = (1.0 - ratio**2).clamp_min(0).sqrt()
        return _shaped(ratio, x_s) * _wide(x_s) + _shaped(spread, x_s) * _wide(noise)

    def jump(self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """alpha_s x0 + sigma_s eps with x0 = (x_t - sigma_t eps) / alpha_t: a DDIM move t -> s.

        Written as r x_t + (sigma_s - r sigma_t) eps, r = alpha_s / alpha_t, so that s = t gives
        x_t back exactly. It equals TCD's and CTM's exponential form (sigma_s / sigma_t) x_t
        - alpha_s (e^-h - 1) x0, h = lambda_s - lambda_t, lambda = ln(alpha / sigma).
        Source: DDIM (arXiv 2010.02502) Eq. 12 with eta = 0; TCD (arXiv 2402.19159).
        """
        ratio = self.alpha[s] / self.alpha[t]
        slope = self.sigma[s] - ratio * self.sigma[t]
        return _shaped(ratio, x_t) * _wide(x_t) + _shaped(slope, x_t) * _wide(prediction)

    def landing(self, t: Tensor, s: Tensor) -> Tensor:
        """alpha_s sigma_t / alpha_t - sigma_s, in the tables' precision."""
        return self.alpha[s] / self.alpha[t] * self.sigma[t] - self.sigma[s]

    def x0(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """(x_t - sigma_t eps) / alpha_t."""
        a, s = self._at(t, x_t)
        return (_wide(x_t) - s * _wide(prediction)) / a

    def target(self, x0: Tensor, eps: Tensor) -> Tensor:
        """eps."""
        return eps

    def eps_from_x0(self, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """eps = (x_t - alpha_t x0) / sigma_t."""
        a, s = self._at(t, x_t)
        return (_wide(x_t) - a * _wide(x0)) / s

    def eps_from_v(self, x_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """eps = alpha_t v + sigma_t x_t."""
        a, s = self._at(t, x_t)
        return a * _wide(v) + s * _wide(x_t)

    def prediction(
        self, output: Tensor, x_t: Tensor, t: Tensor, prediction_type: str | None = None
    ) -> Tensor:
        """eps, from eps, x0 ("sample") or v."""
        kind = prediction_type or self.prediction_type
        if kind == "v_prediction":
            return self.eps_from_v(x_t, output, t)
        if kind == "sample":
            return self.eps_from_x0(x_t, output, t)
        return _wide(output)

    def consistency(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """f(x_t, t) = c_skip(t) x_t + c_out(t) x0.

        c_skip = d^2 / ((10 t)^2 + d^2), c_out = 10 t / sqrt((10 t)^2 + d^2), d = 0.5: a step at
        t = 0 in all but name. Source: LCM (arXiv 2310.04378), Sec. 4.1; the scaling 10 is of its
        release.
        """
        x0 = self.x0(x_t, prediction, t)
        scaled = (t.to(x0.dtype) * TIMESTEP_SCALING).view(-1, *[1] * (x0.ndim - 1))
        norm = scaled**2 + SIGMA_DATA**2
        return SIGMA_DATA**2 / norm * x_t.to(x0.dtype) + scaled / norm.sqrt() * x0

    def _at(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        return _shaped(self.alpha[t], like), _shaped(self.sigma[t], like)


@dataclass(frozen=True)
class RectifiedFlow(Schedule):
    """alpha_t = 1 - t, sigma_t = t, real t from 0 to 1. Predicted is the velocity u = eps - x0, so
    that dx/dt = u along the flow, and x0 = x_t - t u at any t.

    shift: how grids and random times are spread (`hypersd.clock.Shifted`).
    Source: Liu et al. 2022 (arXiv 2209.03003); Stable Diffusion 3 (arXiv 2403.03206), Sec. 2.
    """

    shift: float = 1.0
    prediction_type = FLOW

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> RectifiedFlow:
        """Of diffusers' FlowMatchEulerDiscreteScheduler, with one shift for all sizes.

        Raises UsageError for a shift that depends on the size (FLUX's).
        """
        if config.get("use_dynamic_shifting"):
            raise UsageError("scheduler: use_dynamic_shifting=True is not supported; valid: False")
        return cls(float(config["shift"]))

    @cached_property
    def clock(self) -> Shifted:
        """0 .. 1, shifted."""
        return Shifted(self.shift)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """1 - t and t."""
        return 1 - t, t

    def diffuse(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """(1 - t) x0 + t eps: pure noise at t = 1 by itself."""
        t = _shaped(t, x0)
        return (1 - t) * _wide(x0) + t * _wide(eps)

    def renoise(self, x_s: Tensor, noise: Tensor, t: Tensor, s: Tensor | None = None) -> Tensor:
        """r x_s + sqrt(t^2 - r^2 s^2) noise, r = (1 - t) / (1 - s)."""
        t = _shaped(t, x_s)
        if s is None:
            return (1 - t) * _wide(x_s) + t * _wide(noise)
        s = _shaped(s, x_s)
        ratio = torch.where(t == s, torch.ones_like(t), (1 - t) / (1 - s))
        spread = (t**2 - (ratio * s) ** 2).clamp_min(0).sqrt()
        return ratio * _wide(x_s) + spread * _wide(noise)

    def jump(self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """x_t + (s - t) u: an Euler move."""
        return _wide(x_t) + _shaped(s - t, x_t) * _wide(prediction)

    def landing(self, t: Tensor, s: Tensor) -> Tensor:
        """t - s."""
        return t - s

    def x0(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """x_t - t u."""
        return _wide(x_t) - _shaped(t, x_t) * _wide(prediction)

    def target(self, x0: Tensor, eps: Tensor) -> Tensor:
        """u = eps - x0."""
        return eps - x0

    def prediction(
        self, output: Tensor, x_t: Tensor, t: Tensor, prediction_type: str | None = None
    ) -> Tensor:
        """u, from u or from x0 ("sample"): u = (x_t - x0) / t."""
        if prediction_type == "sample":
            return (_wide(x_t) - _wide(output)) / _shaped(t, x_t)
        return _wide(output)

    def consistency(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """x0 = x_t - t u, which is x_t at t = 0."""
        return self.x0(x_t, prediction, t)


def _shaped(values: Tensor, like: Tensor) -> Tensor:
    """Values [B] as [B, 1, 1, ...] in the precision that `like` is computed in."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return values.to(dtype).view(-1, *[1] * (like.ndim - 1))


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _betas(config: Mapping[str, Any]) -> Tensor:
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float64)
    start, end = float(config["beta_start"]), float(config["beta_end"])
    count, kind = int(config["num_train_timesteps"]), config["beta_schedule"]
    if kind == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
    if kind == "linear":
        return torch.linspace(start, end, count, dtype=torch.float64)
    raise UsageError(f"scheduler: beta_schedule {kind!r}; "
                     + nearest(str(kind), ("linear", "scaled_linear")))  # fmt: skip
