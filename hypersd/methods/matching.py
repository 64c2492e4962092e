"""The roles of distribution matching: a student, and a fake score model trained on its pictures.

The fake score model is a second adapter on the same UNet. At a random t it and the guided teacher
both denoise the student's x, diffused to t, and x moves from the fake score model's x0 towards the
teacher's (`distribution_matching_loss`).
Source: DMD (arXiv 2311.18828); DMD2 (2405.14867) for the alternation.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from hypersd.clock import Time
from hypersd.conditions import Text
from hypersd.methods.distillation import Distillation, DistillationOptions, LearningRate
from hypersd.recipe import Recipe
from hypersd.task import STUDENT, Turn

FAKE = "fake"
NOISE_RANGE = (0.02, 0.98)  # of the way to noise: where the two scores are compared, as DMD's
WHOLE = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class MatchingOptions(DistillationOptions):
    """A recipe's `options`.

    guidance: of the teacher's score (the fake's is 1).  fake_updates: updates of the fake score
    model per student update.  fake_lr: its learning rate.  init: a folder with the weights that the
    student starts from, "" for none.  full: the student is a whole UNet instead of an adapter
    (Hyper-SD's dedicated one-step model).
    """

    fake_updates: Annotated[int, Field(ge=1, le=100)] = 2
    fake_lr: LearningRate = 0.0
    init: str = ""
    full: bool = False


@dataclass(frozen=True, kw_only=True)
class AlternatingOptions(MatchingOptions):
    """A recipe's `options`.

    start: the timestep, of 0 to 999, at which the student gets pure noise.
    """

    start: Annotated[int, Field(ge=1, le=999)] = 999


class MatchingTask(Distillation):
    """A `hypersd.loop.Task` with two roles: the student, and the fake score model."""

    options: MatchingOptions

    def __init__(self, recipe: Recipe, device: torch.device, options: MatchingOptions) -> None:
        super().__init__(recipe, device, options)
        if options.init:
            self.student.load(STUDENT, Path(options.init))

    def roles(self) -> tuple[str, ...]:
        """Student and fake score model."""
        return (STUDENT, FAKE)

    def whole(self) -> tuple[str, ...]:
        """The student, or none."""
        return (STUDENT,) if self.options.full else ()

    def groups(self) -> list[dict[str, Any]]:
        """Each role's parameters by its name."""
        fake: dict[str, Any] = {"role": FAKE, "params": self.student.parameters(FAKE)}
        if self.options.fake_lr:
            fake["lr"] = self.options.fake_lr
        return [*super().groups(), fake]

    @torch.no_grad()
    def denoised(self, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, Tensor]:
        """x0 of the fake score model and of the guided teacher at x_t, each [B, C, H, W]."""
        fake = self.student.predict(FAKE, x_t, t, text)
        real = self.teacher_prediction(x_t, t, text)
        return self.schedule.x0(x_t, fake, t), self.schedule.x0(x_t, real, t)

    def times(self, span: tuple[float, float], rng: torch.Generator) -> Tensor:
        """A time for each row of this part, between two fractions of the way to noise."""
        drawn = self.schedule.clock.draw(*span, self.recipe.batch, rng)
        return drawn[self.share].to(self.device)

    def facts(self) -> dict[str, Any]:
        """For the card: updates of the fake score model."""
        return {"fake_updates": self.options.fake_updates, **super().facts()}


class AlternatingTask(MatchingTask):
    """DMD's and DMD2's order: the fake score model's turns come first, each on new pictures."""

    options: AlternatingOptions

    def one_step_start(self) -> Time:
        """The recipe's."""
        return self.schedule.clock.of(self.options.start)

    def turns(self, step: int) -> tuple[str, ...]:
        """The fake score model `fake_updates` times, then the student."""
        return (FAKE,) * self.options.fake_updates + (STUDENT,)

    def turn_loss(self, role: str, step: int, rng: torch.Generator, outputs: Any = None) -> Turn:
        """The loss of the fake score model, or of the student."""
        return Turn(*(self.fake_loss(step, rng) if role == FAKE else self.loss(step, rng)))

    @abstractmethod
    def fake_loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The fake score model's loss at a step, and scalars to log."""

    def facts(self) -> dict[str, Any]:
        """For the card: the timestep of one step, too."""
        return {"start": self.options.start, **super().facts()}
