"""TSCD, Hyper-SD's trajectory segmented consistency distillation.

As TCD, but consistency is asked within k segments of the trajectory, and k falls stage by stage
(8, 4, 2, 1), each stage going on from the last: L = d(f(x_t, t, s), sg f_ema(x_prev, t_prev, s)),
s uniform over the segment's solver points in [t_b, t_prev]. At k = 1 this is TCD's loss.
Source: Hyper-SD (arXiv 2404.13686), Sec. 3.1, Eq. 11 and 12, Algorithm 1.

The distance is a squared error and SDXL-Lightning's adversarial loss, weighted stage by stage: the
critic (`hypersd.critic`) tells the target's landings ("real") from the student's ("fake").

# Differs from Hyper-SD: segments by solver index (see `SolverGrid.first`). The weights of the two
# losses are not published; the ODE teacher of later stages is ambiguous there, so it is an option.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from hypersd.conditions import Text
from hypersd.critic import Critic
from hypersd.losses import critic_loss, fooling_loss
from hypersd.methods.consistency import (
    ConsistencyOptions,
    ConsistencyTask,
    Draw,
    Landing,
    Method,
)
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule
from hypersd.solver import SolverGrid
from hypersd.student import TEACHER
from hypersd.task import STUDENT
from hypersd.validation import Count, NonNegative

CRITIC, PREVIOUS = "critic", "previous"


@dataclass(frozen=True)
class Stage:
    """`steps` updates with the trajectory cut into `segments`; weights of the two losses."""

    segments: Count
    steps: Count
    distance: NonNegative = 1.0
    adversarial: NonNegative = 0.0


@dataclass(frozen=True, kw_only=True)
class TscdOptions(ConsistencyOptions):
    """A recipe's `options`.

    teacher: of the ODE in stages after the first.  critic: its trunk, a trained "copy" of the
    UNet's half, or the UNet's own, "frozen".
    """

    teacher: Literal["base", "previous_stage"] = "base"
    critic: Literal["copy", "frozen"] = "copy"


class Tscd(Method):
    """Land on a solver point of t's own segment, drawn from [t_b, t_prev]."""

    options: ClassVar[type[ConsistencyOptions]] = TscdOptions

    def __init__(self, recipe: Recipe, grid: SolverGrid) -> None:
        super().__init__(recipe, grid)
        self.stages = recipe.read_stages(Stage)
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


class TscdTask(ConsistencyTask):
    """A `hypersd.loop.Task`; where a stage has an adversarial weight, the critic's turn follows the
    student's and judges the same landings."""

    method: Tscd

    def __init__(self, recipe: Recipe, device: torch.device, method: type[Method]) -> None:
        super().__init__(recipe, device, method)
        self.landings: dict[int | None, Landing] = {}  # of each part of a batch

    @property
    def landing(self) -> Landing:
        """Where the student has just landed, of the rows in turn."""
        return self.landings[self.share.start]

    def networks(self) -> dict[str, nn.Module]:
        """The critic, where a stage has one."""
        if not any(stage.adversarial for stage in self.method.stages):
            return {}
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed)
            frozen = isinstance(self.options, TscdOptions) and self.options.critic == "frozen"
            recompute = self.recipe.gradient_checkpointing
            critic = Critic(self.base.unet, frozen=frozen, recompute=recompute)
            self.critic = critic.to(self.device)
        return {"critic": self.critic}

    def roles(self) -> tuple[str, ...]:
        """Also the previous stage's student, where it is the teacher."""
        return super().roles() + ((PREVIOUS,) if self._taught_by_previous else ())

    def groups(self) -> list[dict[str, Any]]:
        """The student's adapter, and the critic's own parameters (betas as in Lightning)."""
        groups = super().groups()
        if "critic" in self.modules:
            critic = {"role": CRITIC, "params": self.critic.trained(), "betas": (0.0, 0.99)}
            groups.append(critic | {"lr": self.options.critic_lr or self.recipe.lr})
        return groups

    def turns(self, step: int) -> tuple[str, ...]:
        """The student; then, in a stage with an adversarial weight, the critic."""
        return (STUDENT, CRITIC) if self.method.stage(step).adversarial else (STUDENT,)

    def turn_loss(
        self, role: str, step: int, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The student's loss, or the critic's on the landings that it has just made."""
        if role == STUDENT:
            return self.loss(step, rng)
        real, fake = self.logits(self.landing.goal), self.logits(self.landing.prediction)
        right = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        return self.telling(real, fake).mean(), {"right": float(right)}

    def compare(self, step: int, landing: Landing) -> tuple[Tensor, dict[str, float]]:
        """The stage's weighted sum of the distance and of what the critic makes of the landing."""
        stage = self.method.stage(step)
        distances, scalars = super().compare(step, landing)
        scalars["distance"] = float(distances.detach().mean())
        if not stage.adversarial:
            return stage.distance * distances, scalars
        prediction = landing.prediction.detach()
        self.landings[self.share.start] = replace(landing, prediction=prediction)
        fooling = self.fooling(self.logits(landing.prediction))
        scalars["fooling"] = float(fooling.detach().mean())
        return stage.distance * distances + stage.adversarial * fooling, scalars

    def logits(self, x_s: Tensor) -> Tensor:
        """What the critic makes of landings in the place of the last ones, [B, ...]."""
        at = self.landing
        with self.student.using(TEACHER):  # a frozen trunk is the base's own
            found: Tensor = self.critic(x_s, at.s, at.text, at.x_t, at.t)
        return found

    def telling(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the critic minimises, [B]."""
        return critic_loss(real, fake)

    def fooling(self, fake: Tensor) -> Tensor:
        """What the student minimises of the critic's logits, [B]."""
        return fooling_loss(fake)

    def teacher_eps(self, step: int, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """The base's, guided; or, after the first stage, the previous stage's student's."""
        if self._taught_by_previous and step >= self.method.ends[0]:
            return self.student.predict(PREVIOUS, x, t, text)
        return super().teacher_eps(step, x, t, text)

    def after_step(self, step: int) -> None:
        """Move the target; at a stage's end keep its student as the next one's teacher."""
        super().after_step(step)
        if self._taught_by_previous and step + 1 in self.method.ends:
            self.student.average(PREVIOUS, 0.0)

    def snapshot(self, step: int) -> str | None:
        """Every stage's student is a model of its own."""
        if step + 1 in self.method.ends[:-1]:
            return f"{self.method.stage(step).segments}segments"
        return None

    def cost(self, steps: int) -> dict[str, int]:
        """As any consistency method's, with the critic's part."""
        figures, batch = super().cost(steps), self.recipe.batch
        if self._taught_by_previous and self.options.guidance != 1:  # guidance is distilled then
            figures["unet_forwards"] -= batch * max(0, steps - self.method.ends[0])
        judged = sum(bool(self.method.stage(step).adversarial) for step in range(steps))
        return figures | {"critic_updates": judged, "critic_images": 2 * judged * batch}

    @property
    def _taught_by_previous(self) -> bool:
        options = self.options
        return isinstance(options, TscdOptions) and options.teacher == "previous_stage"


def build(recipe: Recipe, device: torch.device) -> TscdTask:
    """The task of a recipe with `method: tscd`."""
    return TscdTask(recipe, device, Tscd)
