"""TCD's and TSCD's jump t -> s to a random end point, and the distribution of t and s.

Inference in k steps makes only the jumps from a segment's upper edge to its lower one, which
uniform t and s seldom draw; and the squared error at s weighs an error of the network's eps by c(t,
s)^2, so the noisiest segments have nearly all of the gradient. Options correct both: end points at
the edge (as PCM and TDD, arXiv 2409.01347), starts at the edge, and the error divided by c^2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hypersd.methods.consistency import ConsistencyOptions, ConsistencyPair, ConsistencyTask, Draw
from hypersd.validation import Fraction, NonNegative


@dataclass(frozen=True, kw_only=True)
class JumpOptions(ConsistencyOptions):
    """A recipe's `options`.

    to_edge: probability that s is the lower edge of t's segment instead of any solver point.
    from_edge: probability that t is the upper edge.
    landing_floor: the squared error is divided by the larger of this and c(t, s)^2 (Huber's, which
    is of first order, by its root); 0 divides by nothing.
    """

    to_edge: Fraction = 0.0
    from_edge: Fraction = 0.0
    landing_floor: NonNegative = 0.0


class JumpTask(ConsistencyTask):
    """A task whose consistency function is the jump t -> s."""

    options: JumpOptions

    def draw(self, step: int, shape: torch.Size, rng: torch.Generator) -> Draw:
        """The draw, with some samples moved to their segment's edges."""
        draw, options = super().draw(step, shape, rng), self.options
        if options.from_edge:
            moved = torch.rand(shape[:1], generator=rng) < options.from_edge
            last = self.method.grid_at(step).last(draw.index, self.method.segments(step))
            draw = replace(draw, index=torch.where(moved, last, draw.index))
        if options.to_edge:
            moved = torch.rand(shape[:1], generator=rng) < options.to_edge
            draw = replace(draw, end=draw.end.masked_fill(moved, 0.0))
        return draw

    def distance(self, pair: ConsistencyPair) -> Tensor:
        """The distance at s, divided by c(t, s)^2 where `landing_floor` asks for it."""
        distance = super().distance(pair)
        if not self.options.landing_floor:
            return distance
        square = (
            self.schedule.landing(pair.t, pair.s).square().clamp_min(self.options.landing_floor)
        )
        weight = square if self.options.distance == "mse" else square.sqrt()
        return distance / weight.to(distance.dtype)
