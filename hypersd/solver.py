"""The solver grid, the segments of a trajectory, and the teacher's guided ODE step.

Legend: N solver points; index i = 0 .. N - 1 names the point t_i, and the ODE step from it lands
on t_prev(i) = t_{i-1}, t_prev(0) = 0. k segments of N / k points each; b(i) is the first index of
i's segment, t_b = t_prev(b) its lower edge. B batch, L tokens, D width of the text embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hypersd.clock import Clock, Time, Timesteps
from hypersd.conditions import Text, with_unconditional
from hypersd.errors import UsageError
from hypersd.schedule import Schedule

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B, C, H, W], t [B]) -> the schedule's prediction [B, C, H, W]: eps, or the velocity."""

Network = Callable[[Tensor, Tensor, Text], Tensor]
"""(x_t [B, C, H, W], t [B], text of B samples) -> the same."""


@dataclass(frozen=True, eq=False)
class SolverGrid:
    """N points with trailing spacing on a clock, so that t_{N-1} is pure noise.

    With N = 40 and SD's 1,000 timesteps the grid holds 249, 499, 749, 999: the timesteps few-step
    schedulers with trailing spacing start from. timesteps, previous: [N], of the clock's kind.
    Raises UsageError for a number of points that the clock does not have.
    """

    points: int = 40
    clock: Clock = field(default_factory=Timesteps)
    timesteps: Tensor = field(init=False)
    previous: Tensor = field(init=False)

    def __post_init__(self) -> None:
        try:
            timesteps = self.clock.grid(self.points)
        except ValueError as error:
            raise UsageError(f"solver points={self.points}; valid: {error}") from None
        previous = torch.cat([torch.zeros_like(timesteps[:1]), timesteps[:-1]])
        object.__setattr__(self, "timesteps", timesteps)
        object.__setattr__(self, "previous", previous)

    def on(self, clock: Clock) -> SolverGrid:
        """The grid of as many points on another clock."""
        return replace(self, clock=clock)

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

        index: [B] solver indices.  u: [B] in [0, 1), which the caller drew.  Returns [B],
        t_b <= s <= t_prev(i). With one segment this is TCD's and CTM's choice: any solver point
        from 0 up to t_prev.
        """
        first = self.first(index, segments)
        offset = (u.double() * (index - first + 1)).long()
        return self.previous[torch.minimum(first + offset, index)]

    def inference(self, steps: int) -> list[Time]:
        """Descending times of few-step inference, as diffusers' LCM and TCD schedulers choose.

        For steps that divide N this is trailing spacing. Raises UsageError unless 1 <= steps <= N.
        """
        if not 1 <= steps <= self.points:
            raise UsageError(f"steps={steps}; valid: 1 to {self.points}, the solver's points")
        return [
            self.timesteps[self.points - 1 - i * self.points // steps].item() for i in range(steps)
        ]


def guided(
    network: Network, x: Tensor, t: Tensor, text: Text, empty: Text, guidance_scale: float
) -> Tensor:
    """Classifier-free guidance, p_u + guidance_scale (p_c - p_u) of predictions p, in one batched
    call.

    Imagen's convention: 1 is no guidance (and one half of the cost); LCM's w is this less 1.
    text: of B samples, such as [B, L, D].  empty: of one, the condition of no prompt.
    Source: Ho and Salimans 2022 (arXiv 2207.12598).
    """
    if guidance_scale == 1.0:
        return network(x, t, text)
    return torch.lerp(*without_and_with(network, x, t, text, empty), guidance_scale)


def without_and_with(
    network: Network, x: Tensor, t: Tensor, text: Text, empty: Text
) -> tuple[Tensor, Tensor]:
    """Predictions without and with the text, p_u and p_c, in one batched call; as `guided`."""
    both = with_unconditional(empty, text)
    unconditional, conditional = network(x.repeat(2, 1, 1, 1), t.repeat(2), both).chunk(2)
    return unconditional, conditional


def ode_solution(
    teacher: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, schedule: Schedule, *, steps: int = 1
) -> Tensor:
    """The probability flow ODE solved from t to s <= t, [B], in `steps` moves, DDIM's or Euler's.

    The moves are equal in t, each sample's own, as far as the schedule's clock can say it.
    """
    start = t
    for left in range(steps - 1, -1, -1):
        lower = schedule.clock.between(s, start, left / steps)
        x_t, t = schedule.jump(x_t, teacher(x_t, t), t, lower), lower
    return x_t
