"""TSCD's and PCM's stages: consistency within segments, and the critic's turn.

A stage cuts the trajectory into segments and weighs two losses: the distance, and the generator
loss of a critic's logits. If the latter has a weight, the critic's turn follows the student's and
judges the same pair: the target's points are its "real", the student's its "fake".
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypersd.clock import Clock
from hypersd.losses import critic_loss, generator_loss, weighted_sum
from hypersd.methods.consistency import ConsistencyPair, ConsistencyTask, Method
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule
from hypersd.seeded import seeded
from hypersd.solver import SolverGrid
from hypersd.task import STUDENT, Turn
from hypersd.validation import Count, NonNegative

CRITIC = "critic"


@dataclass(frozen=True)
class SegmentStage:
    """`steps` updates with the trajectory cut into `segments`; weights of the two losses.

    points: N of the stage's own solver grid, the recipe's where None.
    """

    segments: Count
    steps: Count
    points: Count | None = None
    distance: NonNegative = 1.0
    adversarial: NonNegative = 0.0


class Segmented(Method):
    """f is the jump t -> s, s within t's own segment.  stage_kind: what its recipes' stages say."""

    stage_kind: ClassVar[type[SegmentStage]] = SegmentStage

    def __init__(self, recipe: Recipe, grid: SolverGrid) -> None:
        super().__init__(recipe, grid)
        self.stages: Sequence[SegmentStage] = recipe.read_stages(self.stage_kind)
        self.ends = list(accumulate(stage.steps for stage in self.stages))
        self.grids = [SolverGrid(stage.points) if stage.points else grid for stage in self.stages]
        for stage, own in zip(self.stages, self.grids, strict=True):
            own.check_segments(stage.segments)

    def on(self, clock: Clock) -> SolverGrid:
        """Every stage's, too."""
        self.grids = [grid.on(clock) for grid in self.grids]
        return super().on(clock)

    def stage(self, step: int) -> SegmentStage:
        """The stage that a training step belongs to."""
        return self.stages[bisect_right(self.ends, step)]

    def segments(self, step: int) -> int:
        """The segments of the step's stage."""
        return self.stage(step).segments

    def grid_at(self, step: int) -> SolverGrid:
        """The grid of the step's stage."""
        return self.grids[bisect_right(self.ends, step)]

    def consistency_function(
        self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor, schedule: Schedule
    ) -> Tensor:
        """The jump t -> s."""
        return schedule.jump(x_t, prediction, t, s)


class SegmentedTask(ConsistencyTask):
    """A `hypersd.loop.Task` of stages with a critic.  betas: of the critic's Adam."""

    method: Segmented
    betas: ClassVar[tuple[float, float]] = (0.0, 0.99)

    @abstractmethod
    def make_critic(self) -> nn.Module:
        """The critic, made after the recipe's seed while the UNet has no adapters yet."""

    @abstractmethod
    def logits(self, x_s: Tensor, pair: ConsistencyPair, step: int) -> Sequence[Tensor]:
        """The critic's logits of points x_s in the place of a pair's: [B, ...] of each head."""

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic's loss of a head's logits, [B, ...] -> [B]."""
        return critic_loss(real, fake)

    def generator_loss(self, fake: Tensor) -> Tensor:
        """The student's loss of a head's logits, [B, ...] -> [B]."""
        return generator_loss(fake)

    def prepare(self) -> dict[str, nn.Module]:
        """The critic, where a stage has one."""
        if not any(stage.adversarial for stage in self.method.stages):
            return {}
        with seeded(self.recipe.seed):
            return {CRITIC: self.make_critic().to(self.device)}

    def groups(self) -> list[dict[str, Any]]:
        """The student's parameters, and the critic's own."""
        groups = super().groups()
        if CRITIC in self.modules:
            rate = self.options.critic_lr or self.recipe.lr
            trained = [p for p in self.modules[CRITIC].parameters() if p.requires_grad]
            groups.append({"role": CRITIC, "params": trained, "lr": rate, "betas": self.betas})
        return groups

    def turns(self, step: int) -> tuple[str, ...]:
        """The student; then, in a stage with an adversarial weight, the critic."""
        return (STUDENT, CRITIC) if self.method.stage(step).adversarial else (STUDENT,)

    def turn_loss(self, role: str, step: int, rng: torch.Generator, outputs: Any = None) -> Turn:
        """The student's turn, or the critic's turn on the student's pair."""
        if role == STUDENT:
            return super().turn_loss(role, step, rng)
        pair: ConsistencyPair = outputs
        real, fake = (self.logits(x, pair, step) for x in (pair.goal, pair.prediction))
        right = (share_above(real) + share_above([-v for v in fake])) / 2
        return Turn(mean_over_heads(self.critic_loss, real, fake).mean(), {"right": float(right)})

    def compare(self, step: int, pair: ConsistencyPair) -> tuple[Tensor, dict[str, float]]:
        """The stage's weighted sum of the distance and of the generator's loss."""
        stage = self.method.stage(step)
        distances, scalars = super().compare(step, pair)
        scalars["distance"] = float(distances.detach().mean())
        if not stage.adversarial:
            return stage.distance * distances, scalars
        generator = mean_over_heads(self.generator_loss, self.logits(pair.prediction, pair, step))
        scalars["generator_loss"] = float(generator.detach().mean())
        return weighted_sum(distances, generator, (stage.distance, stage.adversarial)), scalars

    def snapshot(self, step: int) -> str | None:
        """The student is exported at the end of each stage."""
        if step + 1 in self.method.ends[:-1]:
            return f"{self.method.stage(step).segments}segments"
        return None


def mean_over_heads(loss: Callable[..., Tensor], *logits: Sequence[Tensor]) -> Tensor:
    """The mean of a loss over a critic's heads, [B]; logits: [B, ...] of each head."""
    return torch.stack([loss(*of_head) for of_head in zip(*logits, strict=True)]).mean(0)


def share_above(logits: Sequence[Tensor]) -> Tensor:
    """The share of all logits that are positive."""
    return (torch.cat([v.flatten() for v in logits]) > 0).float().mean()
