"""What methods have in common that match distributions along the student's own path.

A student of n moves is trained where it is at inference: it goes from pure noise to one of its
times by its own sampler, without gradient, and makes one step there with one. All turns of a
training step share this roll-out: the student comes first, and the fake score model learns from
its pictures.
Source: DMD2's backward simulation (arXiv 2405.14867), Sec. 4.5; TDM (2503.06674).

# Differs from both: one time for all samples of a step, and one roll-out for all its turns.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from hypersd.clock import Time
from hypersd.conditions import Text
from hypersd.data import Samples
from hypersd.methods.matching import FAKE, NOISE_RANGE, MatchingTask
from hypersd.schedule import Schedule
from hypersd.solver import Denoiser
from hypersd.task import STUDENT, Turn


@dataclass(frozen=True, eq=False)
class Step:
    """A student's step from its own path, for a batch.

    x_t, prediction, x0: [B, C, H, W], where it began, the student's prediction there and the
    picture of that.  t, s: [B], the times of x_t and of where the student goes next.
    moves: of the whole path.  done: those before this one.  batch: the samples whose text it was
    drawn for.
    """

    x_t: Tensor
    prediction: Tensor
    x0: Tensor
    t: Tensor
    s: Tensor
    moves: int
    done: int
    batch: Samples

    @property
    def text(self) -> Text:
        """The conditions."""
        return self.batch.text

    @property
    def is_last(self) -> bool:
        """Whether the picture is what the student's sampler ends with."""
        return self.done + 1 == self.moves

    def detached(self) -> Step:
        """The same without the student's gradient."""
        return replace(self, prediction=self.prediction.detach(), x0=self.x0.detach())


@torch.no_grad()
def roll_out(
    model: Denoiser, x: Tensor, times: Sequence[Time], schedule: Schedule,
    fresh: Sequence[Tensor] = (),
) -> Tensor:  # fmt: skip
    """The student's own x at the last of the times, from x at the first one.

    fresh: noise like x for each move, which then is to x0 and up again (LCM's sampler); without,
    moves are jumps (DDIM's).  Returns latents like x, without gradient.
    """
    for i, (now, following) in enumerate(pairwise(times)):
        t, s = (schedule.clock.full(x, v) for v in (now, following))
        prediction = model(x, t)
        if fresh:
            x = schedule.renoise(schedule.x0(x, prediction, t), fresh[i], s)
        else:
            x = schedule.jump(x, prediction, t, s)
    return x


class OnPolicyTask(MatchingTask):
    """A `hypersd.loop.Task` whose turns share a roll-out of the student's."""

    def turns(self, step: int) -> tuple[str, ...]:
        """The student, then the fake score model `fake_updates` times, on the same pictures."""
        return (STUDENT,) + (FAKE,) * self.options.fake_updates

    def turn_loss(self, role: str, step: int, rng: torch.Generator, outputs: Any = None) -> Turn:
        """The student's loss at a step on its path, or the fake score model's on its picture."""
        if role == FAKE:
            return Turn(*self.fake_loss(outputs, step, rng))
        at = self.student_step(step, rng)
        return Turn(*self.student_loss(at, step, rng), at.detached())

    @abstractmethod
    def student_step(self, step: int, rng: torch.Generator) -> Step:
        """The step that a training step is about."""

    @abstractmethod
    def student_loss(
        self, at: Step, step: int, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """What the student minimises at a training step, and scalars to log."""

    @abstractmethod
    def fake_loss(
        self, at: Step, step: int, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The fake score model's loss on the student's step, and scalars to log."""

    def step_on_path(
        self, step: int, times: Sequence[Time], last: int, rng: torch.Generator, *,
        renoised: bool = False,
    ) -> Step:  # fmt: skip
        """Go from pure noise down the times of a path to the one at `last`; the student's step
        there has a gradient."""
        recipe = self.recipe
        batch = self.data.samples(self.base, step, recipe.batch, recipe.seed, self.share)
        z, *fresh = (self.noise(batch, rng) for _ in range(1 + last * renoised))
        model = self.student.network(STUDENT)
        x = roll_out(
            lambda x, t: model(x, t, batch.text), z, times[: last + 1], self.schedule, fresh
        )
        t, s = (self.schedule.clock.full(x, v) for v in [*times, 0][last : last + 2])
        prediction = model(x, t, batch.text)
        x0 = self.schedule.x0(x, prediction, t)
        return Step(x, prediction, x0, t, s, len(times), last, batch)

    def noise(self, batch: Samples, rng: torch.Generator) -> Tensor:
        """Noise for the rows of this part."""
        return torch.randn(batch.shape, generator=rng)[self.share].to(self.device)

    def times_between(self, s: Tensor, t: Tensor, rng: torch.Generator) -> Tensor:
        """A time for each row between its s and its t, within the range in which scores are
        compared."""
        low, high = (self.schedule.clock.full(t, self.schedule.clock.at(v)) for v in NOISE_RANGE)
        share = torch.rand(self.recipe.batch, generator=rng)[self.share].to(self.device)
        low, high = torch.maximum(s, low), torch.minimum(t, high)
        return self.schedule.clock.between(low, torch.maximum(low, high), share)
