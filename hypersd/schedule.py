"""The noise schedule: the only module that computes with alphas.

Legend: T training timesteps; x_t = alpha_t x0 + sigma_t eps with alpha_t = sqrt(acp_t) and
sigma_t = sqrt(1 - acp_t), acp the cumulative product of 1 - beta; v = alpha_t eps - sigma_t x0;
s is a timestep a jump lands on, s <= t. B, C, H, W are batch, channels, height, width.

Tables are float64. Maths is done in float32 at least (in float64 for float64 inputs), whatever
the network's precision: at t = 999 the step eps -> x0 multiplies an error by 1/alpha_t = 14.65.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hypersd.errors import UsageError, nearest

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


@dataclass(frozen=True, eq=False)
class Schedule:
    """Tables alpha and sigma, [T] float64, and what the network predicts.

    In all methods t and s are integer timesteps, [B] or of one element; other tensors are
    [B, ...] of one shape, and so is what comes back.
    """

    alpha: Tensor
    sigma: Tensor
    prediction_type: str = "epsilon"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """The schedule of a diffusers scheduler's config (SD and SDXL: "scaled_linear").

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

    def to(self, device: torch.device | str) -> Schedule:
        """The same schedule on a device; float32 where that has no float64 (mps)."""
        device = torch.device(device)
        dtype = torch.float32 if device.type == "mps" else torch.float64
        alpha, sigma = self.alpha.to(device, dtype), self.sigma.to(device, dtype)
        return Schedule(alpha, sigma, self.prediction_type)

    @property
    def steps(self) -> int:
        """T, the number of training timesteps."""
        return len(self.alpha)

    def snr(self, t: Tensor) -> Tensor:
        """Signal to noise ratio alpha_t^2 / sigma_t^2, in the tables' precision."""
        return (self.alpha[t] / self.sigma[t]) ** 2

    def diffuse(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t of the forward process, but pure noise at t = T - 1.

        Inference starts from pure noise, while alpha_999 = 0.068 would leak the picture's mean
        into training. Source: SDXL-Lightning (arXiv 2402.13929), Eq. 24.
        """
        a, s = self._at(t, x0)
        last = (t == self.steps - 1).view(a.shape)
        return torch.where(last, _wide(eps), a * _wide(x0) + s * _wide(eps))

    def renoise(self, x_s: Tensor, noise: Tensor, t: Tensor, s: Tensor | None = None) -> Tensor:
        """The forward process from s up to t >= s; from clean latents where s is None.

        r x_s + sqrt(1 - r^2) noise, r = alpha_t / alpha_s. Plain: pure noise is `diffuse`'s.
        """
        ratio = self.alpha[t] if s is None else self.alpha[t] / self.alpha[s]
        spread = (1.0 - ratio**2).clamp_min(0).sqrt()
        return self._shaped(ratio, x_s) * _wide(x_s) + self._shaped(spread, x_s) * _wide(noise)

    def jump(self, x_t: Tensor, eps: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """alpha_s x0 + sigma_s eps with x0 = (x_t - sigma_t eps) / alpha_t: a DDIM move t -> s.

        Written as r x_t + (sigma_s - r sigma_t) eps, r = alpha_s / alpha_t, so that s = t gives
        x_t back exactly. It equals TCD's and CTM's exponential form (sigma_s / sigma_t) x_t
        - alpha_s (e^-h - 1) x0, h = lambda_s - lambda_t, lambda = ln(alpha / sigma).
        Source: DDIM (arXiv 2010.02502) Eq. 12 with eta = 0; TCD (arXiv 2402.19159).
        """
        ratio = self.alpha[s] / self.alpha[t]
        slope = self.sigma[s] - ratio * self.sigma[t]
        return self._shaped(ratio, x_t) * _wide(x_t) + self._shaped(slope, x_t) * _wide(eps)

    def landing(self, t: Tensor, s: Tensor) -> Tensor:
        """c(t, s) = alpha_s sigma_t / alpha_t - sigma_s >= 0, by which a jump t -> s multiplies an
        error of eps: [B], in the tables' precision."""
        return self.alpha[s] / self.alpha[t] * self.sigma[t] - self.sigma[s]

    def x0_from_eps(self, x_t: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x0 = (x_t - sigma_t eps) / alpha_t."""
        a, s = self._at(t, x_t)
        return (_wide(x_t) - s * _wide(eps)) / a

    def eps_from_x0(self, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """eps = (x_t - alpha_t x0) / sigma_t."""
        a, s = self._at(t, x_t)
        return (_wide(x_t) - a * _wide(x0)) / s

    def eps_from_v(self, x_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """eps = alpha_t v + sigma_t x_t."""
        a, s = self._at(t, x_t)
        return a * _wide(v) + s * _wide(x_t)

    def eps_from_output(
        self, output: Tensor, x_t: Tensor, t: Tensor, prediction_type: str | None = None
    ) -> Tensor:
        """eps from what the network gives, by a prediction type (default: the schedule's)."""
        kind = prediction_type or self.prediction_type
        if kind == "v_prediction":
            return self.eps_from_v(x_t, output, t)
        if kind == "sample":
            return self.eps_from_x0(x_t, output, t)
        return _wide(output)

    def _at(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        return self._shaped(self.alpha[t], like), self._shaped(self.sigma[t], like)

    @staticmethod
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
