"""The common part of all distillations: a base, a student on it, data, previews.

A method defines the other networks, the order of turns, each role's loss, and how the student is
sampled afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from hypersd.base import load_base
from hypersd.clock import Clock, Time
from hypersd.conditions import Text
from hypersd.data import open_dataset
from hypersd.drawing import Drawing
from hypersd.methods.drawn_with import FIELD, NotSaid, drawn_with
from hypersd.methods.preview import PROMPTS, Preview
from hypersd.passes import Passes
from hypersd.recipe import Recipe
from hypersd.schedule import RectifiedFlow
from hypersd.solver import SolverGrid, guided
from hypersd.student import TEACHER, Student
from hypersd.task import STUDENT, Task

Weight = Annotated[float, Field(ge=0, le=100)]
"""Of a part of a loss."""
LearningRate = Annotated[float, Field(ge=0, le=1)]
"""Of a further role; the recipe's where 0."""


@dataclass(frozen=True, kw_only=True)
class DistillationOptions:
    """A recipe's `options` that every method has.

    guidance: the teacher's guidance scale (1 = none), one value for all steps.  points: N of the
    solver grid.  rank: of the adapters.
    """

    guidance: Annotated[float, Field(ge=1, le=100)]
    points: Annotated[int, Field(ge=1, le=1000)] = 40
    rank: Annotated[int, Field(ge=1, le=1024)] = 8


class Distillation(Task):
    """A `hypersd.loop.Task` whose student is an adapter on the base's UNet, or a whole copy of it.

    sampler: of its previews, a key of `hypersd.methods.preview.SAMPLERS`.  start: the time that one
    step is made at.
    """

    divides = True
    options: DistillationOptions
    sampler: str = "jumps"

    def __init__(self, recipe: Recipe, device: torch.device, options: DistillationOptions) -> None:
        try:
            drawn_with(recipe)
        except NotSaid as error:
            warnings.warn(str(error), stacklevel=2)
        self.recipe, self.device, self.options = recipe, device, options
        self.counter = Passes()
        self.base = load_base(recipe.base, device, recipe.base_precision)
        self.schedule = self.base.schedule
        self.grid, self.start = self.on(self.schedule.clock), self.one_step_start()
        self.data = open_dataset(recipe.data, self.base)
        self.modules: dict[str, nn.Module] = {"unet": self.base.network, **self.prepare()}
        whole = self.whole()
        self.student = Student(
            self.base.network, self.schedule, type(self.base.family),
            rank=options.rank, seed=recipe.seed, recompute=recipe.gradient_checkpointing,
            adapters=[role for role in self.roles() if role not in whole], full=whole,
            passes=self.counter,
        )  # fmt: skip
        self.modules |= self.student.copies
        self.empty = self.base.encode_empty()
        self.previews = self.validation_preview()

    def on(self, clock: Clock) -> SolverGrid:
        """The solver grid on the base's clock, known once that is loaded."""
        return SolverGrid(self.options.points, clock)

    def one_step_start(self) -> Time:
        """The time that one step is made at: of pure noise."""
        return self.schedule.clock.pure

    def prepare(self) -> dict[str, nn.Module]:
        """Called before the UNet has adapters; returns further networks to train, by name."""
        return {}

    def roles(self) -> tuple[str, ...]:
        """The roles beside the teacher, all starting from its weights; the student first."""
        return (STUDENT,)

    def whole(self) -> tuple[str, ...]:
        """The roles that are whole UNets instead of adapters."""
        return ()

    def groups(self) -> list[dict[str, Any]]:
        """The student's parameters."""
        return [{"params": self.student.parameters(STUDENT)}]

    def teacher_prediction(self, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """The base's prediction, guided: x [B, C, H, W], t [B], text of B samples -> like x."""
        network = self.student.network(TEACHER)
        return guided(network, x, t, text, self.empty, self.options.guidance)

    def validation_preview(self, count: int = PROMPTS) -> Preview:
        """A preview on the recipe's validation prompts, else on `count` captions of its data."""
        return Preview(
            self.base, self.student, self.grid,
            prompts=self.recipe.prompts or self.data.prompts(count),
            guidance=self.options.guidance, sampler=self.sampler, start=self.start,
        )  # fmt: skip

    def preview(self, path: Path) -> dict[str, float]:
        """Validation prompts at 1, 2, 4 and 8 steps."""
        return self.previews.write(path)

    def passes(self) -> Mapping[str, int]:
        """Pictures through the UNet and critics' halves of one, previews included."""
        return self.counter.counts

    def facts(self) -> dict[str, Any]:
        """Facts for the model card beside those that all methods have."""
        return {}

    def export(self, out: Path) -> dict[str, Any]:
        """Write the student's weights; returns facts for the model card."""
        path, drawn = self.student.export(out), None
        with suppress(NotSaid):
            found = self.drawn_with()
            is_flow = isinstance(self.schedule, RectifiedFlow)
            drawn = (found.on_flow() if is_flow else found).facts()
        return {
            "method": self.recipe.method, "base": self.recipe.base, "rank": self.options.rank,
            "guidance": self.options.guidance, "solver_points": self.options.points,
            "bytes": path.stat().st_size, **self.facts(), FIELD: drawn,
        }  # fmt: skip

    def drawn_with(self) -> Drawing:
        """How the present student is sampled."""
        return drawn_with(self.recipe)
