"""The solver grid, the segments of a trajectory, and the teacher's guided ODE step.

Legend: N solver points; index i = 0 .. N - 1 names the point t_i, and the ODE step from it lands
on t_prev(i) = t_{i-1}, t_prev(0) = 0. k segments of N / k points each; b(i) is the first index of
i's segment, t_b = t_prev(b) its lower edge. B batch, L tokens, D width of the text embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hypersd.conditions import Text, with_unconditional
from hypersd.errors import UsageError
from hypersd.schedule import Schedule

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B, C, H, W], t [B]) -> eps [B, C, H, W]."""

Network = Callable[[Tensor, Tensor, Text], Tensor]
"""(x_t [B, C, H, W], t [B], text of B samples) -> eps [B, C, H, W]."""


@dataclass(frozen=True, eq=False)
class SolverGrid:
    """N points with trailing spacing, t_i = round((i + 1) T / N) - 1, so that t_{N-1} = T - 1.

    With N = 40 and T = 1000 the grid holds 249, 499, 749, 999: the timesteps few-step schedulers
    with trailing spacing start from. timesteps, previous: [N] int64.
    Raises UsageError unless 1 <= points <= train_steps.
    """

    points: int = 40
    train_steps: int = 1000
    timesteps: Tensor = field(init=False)
    previous: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.points <= self.train_steps:
            raise UsageError(f"solver points={self.points}; valid: 1 to {self.train_steps}")
        edges = torch.arange(1, self.points + 1, dtype=torch.float64)
        timesteps = torch.round(edges * self.train_steps / self.points).long() - 1
        previous = torch.cat([torch.zeros(1, dtype=torch.long), timesteps[:-1]])
        object.__setattr__(self, "timesteps", timesteps)
        object.__setattr__(self, "previous", previous)

    def check_segments(self, segments: int) -> None:
        """Raise UsageError unless the points divide evenly into this many segments."""
        if segments < 1 or self.points % segments:
            raise UsageError(
                f"{segments} segments do not divide solver points={self.points}; "
                "valid: a divisor of the points, such as 8, 4, 2 or 1 of 40"
            )

    def first(self, index: Tensor, segments: int) -> Tensor:
        """b(i) = floor(i / (N/k)) N/k, the first index of the segment each index lies in.

        # Differs from Hyper-SD (arXiv 2404.13686) Eq. 11, which floors the timestep: there a
        # point on an edge is its own lower edge, and on a grid that does not divide the segment
        # t_prev falls below it. By index, t_b <= s <= t_prev < t always holds.
        """
        self.check_segments(segments)
        width = self.points // segments
        return index // width * width

    def last(self, index: Tensor, segments: int) -> Tensor:
        """The last index of the segment each index lies in: its upper edge."""
        return self.first(index, segments) + self.points // segments - 1

    def end(self, index: Tensor, u: Tensor, segments: int) -> Tensor:
        """The end point s of a consistency function: t_prev(j), j uniform over b(i) .. i.

        index: [B] solver indices.  u: [B] in [0, 1), which the caller drew.  Returns [B] int64,
        t_b <= s <= t_prev(i). With one segment this is TCD's and CTM's choice: any solver point
        from 0 up to t_prev.
        """
        first = self.first(index, segments)
        offset = (u.double() * (index - first + 1)).long()
        return self.previous[torch.minimum(first + offset, index)]

    def inference(self, steps: int) -> list[int]:
        """Descending timesteps of few-step inference, as diffusers' LCM and TCD schedulers choose.

        For steps that divide N this is trailing spacing. Raises UsageError unless 1 <= steps <= N.
        """
        if not 1 <= steps <= self.points:
            raise UsageError(f"steps={steps}; valid: 1 to {self.points}, the solver's points")
        return [
            int(self.timesteps[self.points - 1 - i * self.points // steps]) for i in range(steps)
        ]


def guided_eps(
    network: Network, x: Tensor, t: Tensor, text: Text, empty: Text, guidance_scale: float
) -> Tensor:
    """Classifier-free guidance, eps_u + guidance_scale (eps_c - eps_u), in one batched call.

    Imagen's convention: 1 is no guidance (and one half of the cost); LCM's w is this less 1.
    text: of B samples, such as [B, L, D].  empty: of one, the condition of no prompt.
    Source: Ho and Salimans 2022 (arXiv 2207.12598).
    """
    if guidance_scale == 1.0:
        return network(x, t, text)
    both = with_unconditional(empty, text)
    unconditional, conditional = network(x.repeat(2, 1, 1, 1), t.repeat(2), both).chunk(2)
    return torch.lerp(unconditional, conditional, guidance_scale)


def ode_solution(
    teacher: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, schedule: Schedule, *, steps: int = 1
) -> Tensor:
    """The probability flow ODE solved from t to s <= t, both [B] int64, in `steps` DDIM moves.

    The moves are equal in t, rounded: [B] each sample's own.
    """
    way = t - s
    for left in range(steps - 1, -1, -1):
        lower = s + torch.round(way * (left / steps)).long()
        x_t, t = schedule.jump(x_t, teacher(x_t, t), t, lower), lower
    return x_t
