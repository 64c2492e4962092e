"""The times of a trajectory: integer timesteps of a trained table, or real numbers.

Legend: t is a time from 0 (clean latents) to `pure` (pure noise); s <= t. A time of a batch is
[B] or of one element, int64 or float32 as the clock has it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

Time = int | float


class Clock(ABC):
    """The times of a schedule: their spread and how they are drawn. dtype: of their tensors."""

    dtype: ClassVar[torch.dtype]

    @property
    @abstractmethod
    def pure(self) -> Time:
        """The time of pure noise."""

    @abstractmethod
    def grid(self, points: int) -> Tensor:
        """N times with trailing spacing, ascending, the last one `pure`: [N].

        Raises ValueError unless there are so many.
        """

    @abstractmethod
    def at(self, fraction: float) -> Time:
        """The time at a fraction of the way from clean latents to noise, as `grid` is spread."""

    @abstractmethod
    def of(self, timestep: int) -> Time:
        """The time of one of a recipe's thousand timesteps, 0 to 999; 999 is `pure`."""

    @abstractmethod
    def draw(self, low: float, high: float, count: int, rng: torch.Generator) -> Tensor:
        """Random times between two fractions of the way, spread as `grid` is: [count]."""

    @abstractmethod
    def between(self, s: Tensor, t: Tensor, share: float | Tensor) -> Tensor:
        """The time at a share of the way from s up to t, [B], or each sample's; s itself at 0."""

    @abstractmethod
    def part(self, t: Time, share: float) -> Time:
        """A share of a time: s of TCD's strategic stochastic sampling, for 1 - eta."""

    @abstractmethod
    def above(self, s: Tensor, u: Tensor, parts: int) -> Tensor:
        """Times above s by u in [0, 1) of one of `parts` equal parts of the grid: [B]."""

    def full(self, like: Tensor, t: Time) -> Tensor:
        """One time for each sample of a batch, [B], where that is."""
        return torch.full((len(like),), t, dtype=self.dtype, device=like.device)


@dataclass(frozen=True)
class Timesteps(Clock):
    """Integers 0 .. T - 1 of a table.  count: T."""

    count: int = 1000
    dtype = torch.long

    @property
    def pure(self) -> int:
        """T - 1."""
        return self.count - 1

    def grid(self, points: int) -> Tensor:
        """t_i = round((i + 1) T / N) - 1."""
        if not 1 <= points <= self.count:
            raise ValueError(f"1 to {self.count}")
        edges = torch.arange(1, points + 1, dtype=torch.float64)
        return torch.round(edges * self.count / points).long() - 1

    def at(self, fraction: float) -> int:
        """The nearest timestep."""
        return min(round(fraction * self.count), self.pure)

    def of(self, timestep: int) -> int:
        """Itself."""
        return timestep

    def draw(self, low: float, high: float, count: int, rng: torch.Generator) -> Tensor:
        """Uniform over low T .. high T - 1."""
        low_t, high_t = (round(share * self.count) for share in (low, high))
        return torch.randint(low_t, high_t, (count,), generator=rng)

    def between(self, s: Tensor, t: Tensor, share: float | Tensor) -> Tensor:
        """Rounded."""
        return s + torch.round((t - s) * share).long()

    def part(self, t: Time, share: float) -> int:
        """Rounded down."""
        return int(share * t)

    def above(self, s: Tensor, u: Tensor, parts: int) -> Tensor:
        """Rounded down, at most T - 1."""
        return (s + (u * (self.count // parts)).long()).clamp(max=self.pure)


@dataclass(frozen=True)
class Shifted(Clock):
    """Real times 0 .. 1: a fraction u of the way is t(u) = shift u / (1 + (shift - 1) u).

    Source: Stable Diffusion 3 (arXiv 2403.03206), Eq. 23: more of the way is spent near the noise
    at a higher resolution; diffusers' FlowMatchEulerDiscreteScheduler has the same `shift`.
    """

    shift: float = 1.0
    dtype = torch.float32

    @property
    def pure(self) -> float:
        """1."""
        return 1.0

    def grid(self, points: int) -> Tensor:
        """t_i = t((i + 1) / N)."""
        if points < 1:
            raise ValueError("at least 1")
        return self._shifted(torch.arange(1, points + 1, dtype=torch.float64) / points).float()

    def at(self, fraction: float) -> float:
        """t(fraction)."""
        return self.shift * fraction / (1 + (self.shift - 1) * fraction)

    def of(self, timestep: int) -> float:
        """(timestep + 1) / 1000."""
        return (timestep + 1) / 1000

    def draw(self, low: float, high: float, count: int, rng: torch.Generator) -> Tensor:
        """t(u), u uniform."""
        return self._shifted(low + (high - low) * torch.rand(count, generator=rng))

    def between(self, s: Tensor, t: Tensor, share: float | Tensor) -> Tensor:
        """s + share (t - s)."""
        return s + share * (t - s)

    def part(self, t: Time, share: float) -> float:
        """share t."""
        return share * t

    def above(self, s: Tensor, u: Tensor, parts: int) -> Tensor:
        """By u / parts of the way."""
        fraction = s / (self.shift - (self.shift - 1) * s)
        return torch.maximum(s, self._shifted((fraction + u / parts).clamp(max=1.0)))

    def _shifted(self, u: Tensor) -> Tensor:
        return self.shift * u / (1 + (self.shift - 1) * u)
