"""LCM-LoRA: maps every point of a trajectory to its start.

L = d(f(x_t, t), sg f'(x_prev, t_prev)), f(x, t) = c_skip(t) x + c_out(t) x0(x, t), f' the student
itself without gradient. Source: LCM (arXiv 2310.04378) Eq. 13, LCM-LoRA (arXiv 2311.05556).

# Differs from LCM: one guidance scale for all samples instead of w ~ U[3, 15] without its
# embedding (as LCM-LoRA's release, but fixed), and pure noise at t = 999.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hypersd.methods.consistency import ConsistencyTask, Draw, Method
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule


class Lcm(Method):
    """f is x0, with LCM's boundary condition f(x, 0) = x."""

    sampler = "consistency"

    def endpoint(self, step: int, draw: Draw) -> Tensor:
        """0 for every sample: f always ends there."""
        return draw.index * 0

    def consistency_function(
        self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor, schedule: Schedule
    ) -> Tensor:
        """f(x_t, t); s is always 0."""
        return schedule.consistency(x_t, prediction, t)


def build(recipe: Recipe, device: torch.device) -> ConsistencyTask:
    """The task of a recipe with `method: lcm`."""
    return ConsistencyTask(recipe, device, Lcm)
