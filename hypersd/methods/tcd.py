"""TCD: maps every point of a trajectory to every earlier point of it.

L = d(f(x_t, t, s), sg f'(x_prev, t_prev, s)), s uniform over the solver points from 0 to t_prev,
f the jump alpha_s x0 + sigma_s eps. The network does not see s. At s = t_prev the goal is x_prev.
Source: TCD (arXiv 2402.19159), Eq. 17 and Algorithm 1.

# Differs from TCD: the target is the student itself without gradient (as in LCM-LoRA) unless
# `target: ema`; one guidance scale; pure noise at t = 999.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from hypersd.methods.consistency import ConsistencyOptions, ConsistencyTask, Draw, Method
from hypersd.methods.jumps import JumpOptions, JumpTask
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule


class Tcd(Method):
    """s is a solver point drawn from [0, t_prev], f the jump to it."""

    options: ClassVar[type[ConsistencyOptions]] = JumpOptions

    def endpoint(self, step: int, draw: Draw) -> Tensor:
        """Any solver point up to t_prev: the whole trajectory is one segment."""
        return self.grid.end(draw.index, draw.end, segments=1)

    def consistency_function(
        self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor, schedule: Schedule
    ) -> Tensor:
        """The jump t -> s."""
        return schedule.jump(x_t, prediction, t, s)


class TcdTask(JumpTask, ConsistencyTask):
    """A `hypersd.loop.Task` of one segment."""


def build(recipe: Recipe, device: torch.device) -> TcdTask:
    """The task of a recipe with `method: tcd`."""
    return TcdTask(recipe, device, Tcd)
