"""TSCD, Hyper-SD's trajectory segmented consistency distillation.

As TCD, but consistency is asked within k segments of the trajectory, and k falls stage by stage
(8, 4, 2, 1), each stage going on from the last: L = d(f(x_t, t, s), sg f_ema(x_prev, t_prev, s)),
s uniform over the segment's solver points in [t_b, t_prev]. At k = 1 this is TCD's loss.
Source: Hyper-SD (arXiv 2404.13686), Sec. 3.1, Eq. 11 and 12, Algorithm 1.

The distance is a squared error and SDXL-Lightning's adversarial loss, weighted stage by stage: the
critic (`hypersd.critic`) tells the target's points ("real") from the student's ("fake").

# Differs from Hyper-SD: segments by solver index (see `SolverGrid.first`). The weights of the two
# losses are not published; the ODE teacher of later stages is ambiguous there, so it is an option.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from hypersd.conditions import Text
from hypersd.critic import Critic
from hypersd.methods.consistency import TARGET, ConsistencyOptions, ConsistencyPair, Draw
from hypersd.methods.jumps import JumpOptions, JumpTask
from hypersd.methods.segmented import Segmented, SegmentedTask, SegmentStage
from hypersd.recipe import Recipe
from hypersd.student import STUDENT, TEACHER
from hypersd.validation import Count

PREVIOUS = "previous"
Teacher = Literal["base", "previous_stage"]


@dataclass(frozen=True, kw_only=True)
class TscdOptions(JumpOptions):
    """A recipe's `options`.

    teacher: of the ODE in stages after the first: the base, or the student of the stage before (its
    average if `target: ema`), which takes one step. critic: its trunk, a trained "copy" of the
    UNet's half, or the UNet's own, "frozen".
    """

    teacher: Teacher = "base"
    critic: Literal["copy", "frozen"] = "copy"


@dataclass(frozen=True)
class TscdStage(SegmentStage):
    """teacher: of this stage's ODE, the options' where None.  ode_steps: the base's from a solver
    point to the one below, the options' where None."""

    teacher: Teacher | None = None
    ode_steps: Count | None = None


class Tscd(Segmented):
    """s is a solver point of t's own segment, drawn from [t_b, t_prev]."""

    options: ClassVar[type[ConsistencyOptions]] = TscdOptions
    stage_kind: ClassVar[type[SegmentStage]] = TscdStage
    stages: Sequence[TscdStage]

    def stage(self, step: int) -> TscdStage:
        """The stage that a training step belongs to."""
        return self.stages[bisect_right(self.ends, step)]

    def endpoint(self, step: int, draw: Draw) -> Tensor:
        """Any solver point from the lower edge of the segment up to t_prev."""
        return self.grid_at(step).end(draw.index, draw.end, self.segments(step))


class TscdTask(JumpTask, SegmentedTask):
    """A `hypersd.loop.Task` with Lightning's critic."""

    options: TscdOptions
    method: Tscd

    def make_critic(self) -> Critic:
        """A trunk and a head."""
        frozen, recompute = self.options.critic == "frozen", self.recipe.gradient_checkpointing
        self.critic = Critic(
            self.base.network,
            type(self.base.family),
            frozen=frozen,
            recompute=recompute,
            passes=self.counter,
        )
        return self.critic

    def logits(self, x_s: Tensor, pair: ConsistencyPair, step: int) -> list[Tensor]:
        """D(x_s, s; x_t, t), [B]."""
        with self.student.using(TEACHER):  # a frozen trunk is the base's own
            return [self.critic(x_s, pair.s, pair.text, pair.x_t, pair.t)]

    def roles(self) -> tuple[str, ...]:
        """The roles, with the previous stage's student if it is a teacher."""
        return super().roles() + ((PREVIOUS,) if self._keeps_previous else ())

    def ode_prediction(self, step: int, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """The guided base's; after the first stage that of the previous stage's student, if it is
        the teacher."""
        if self._taught_by_previous(step):
            return self.student.predict(PREVIOUS, x, t, text)
        return super().ode_prediction(step, x, t, text)

    def ode_steps(self, step: int) -> int:
        """DDIM steps to the solver point below; 1 with a student, which jumps that far."""
        own = self.method.stage(step).ode_steps
        return 1 if self._taught_by_previous(step) else own or super().ode_steps(step)

    def after_step(self, step: int) -> None:
        """Update the target; at the end of a stage keep its student as the next one's teacher."""
        super().after_step(step)
        if self._keeps_previous and step + 1 in self.method.ends:
            left = TARGET if self.options.target == "ema" else STUDENT
            self.student.average(PREVIOUS, 0.0, left)

    @property
    def _keeps_previous(self) -> bool:
        return any(self._teacher(stage) == "previous_stage" for stage in self.method.stages[1:])

    def _teacher(self, stage: TscdStage) -> Teacher:
        return stage.teacher or self.options.teacher

    def _taught_by_previous(self, step: int) -> bool:
        is_first = step < self.method.ends[0]
        return not is_first and self._teacher(self.method.stage(step)) == "previous_stage"


def build(recipe: Recipe, device: torch.device) -> TscdTask:
    """The task of a recipe with `method: tscd`."""
    return TscdTask(recipe, device, Tscd)
