"""TSCD, Hyper-SD's trajectory segmented consistency distillation (its MSE part).

As TCD, but consistency is asked within k segments of the trajectory, and k falls stage by stage
(8, 4, 2, 1), each stage going on from the last: L = d(f(x_t, t, s), sg f_ema(x_prev, t_prev, s)),
s uniform over the segment's solver points in [t_b, t_prev]. At k = 1 this is TCD's loss.
Source: Hyper-SD (arXiv 2404.13686), Sec. 3.1, Eq. 11 and 12, Algorithm 1.

# Differs from Hyper-SD: segments by solver index (see `SolverGrid.first`); no adversarial part;
# the ODE teacher is the base in every stage (the paper's text and figure disagree).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

import torch
from torch import Tensor

from hypersd.errors import UsageError, nearest
from hypersd.methods.consistency import ConsistencyTask, Draw, Method
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule
from hypersd.solver import SolverGrid


@dataclass(frozen=True)
class Stage:
    """`steps` updates with the trajectory cut into `segments`."""

    segments: int
    steps: int


class Tscd(Method):
    """Land on a solver point of t's own segment, drawn from [t_b, t_prev]."""

    choices: ClassVar[dict[str, tuple[str, ...]]] = {"teacher": ("base",)}

    def __init__(self, recipe: Recipe, grid: SolverGrid) -> None:
        super().__init__(recipe, grid)
        self.stages = read_stages(recipe)
        self.ends = list(accumulate(stage.steps for stage in self.stages))
        for stage in self.stages:
            self.grid.check_segments(stage.segments)

    def stage(self, step: int) -> Stage:
        """The stage that a training step belongs to."""
        return self.stages[bisect_right(self.ends, step)]

    def endpoint(self, step: int, draw: Draw) -> Tensor:
        """Any solver point from the lower edge of the segment up to t_prev."""
        return self.grid.end(draw.index, draw.end, self.stage(step).segments)

    def land(self, x_t: Tensor, eps: Tensor, t: Tensor, s: Tensor, schedule: Schedule) -> Tensor:
        """The jump t -> s."""
        return schedule.jump(x_t, eps, t, s)


def read_stages(recipe: Recipe) -> list[Stage]:
    """The recipe's stages: a list of {segments, steps} whose steps add up to the recipe's.

    Raises UsageError for an unknown or missing key, a bad number or another sum.
    """
    stages = [_stage(f"recipe {recipe.name}, stages[{i}]", d) for i, d in enumerate(recipe.stages)]
    total = sum(stage.steps for stage in stages)
    if total != recipe.steps:
        raise UsageError(
            f"recipe {recipe.name}: its stages have {total} steps; valid: steps={recipe.steps}"
        )
    return stages


def _stage(where: str, given: dict[str, Any]) -> Stage:
    valid = ("segments", "steps")
    for key in (*given, *valid):
        if key not in valid:
            raise UsageError(f"{where}: unknown key {key!r}; {nearest(str(key), valid)}")
        if not isinstance(given.get(key), int) or given[key] < 1:
            raise UsageError(f"{where}.{key}={given.get(key)!r}; valid: a whole number from 1")
    return Stage(given["segments"], given["steps"])


def build(recipe: Recipe, device: torch.device) -> ConsistencyTask:
    """The task of a recipe with `method: tscd`."""
    return ConsistencyTask(recipe, device, Tscd)
