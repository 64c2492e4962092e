"""DMD, Hyper-SD's one-step enhancement: one-step pictures get the teacher's distribution.

The student draws x = x0(z) from pure noise z in one step at timestep `start`; the fake score model
is trained on these pictures as they are (`hypersd.methods.matching`). A squared error to the
teacher's own ODE solution from the same z keeps it stable. Rewards, where the recipe has some, are
asked of the same pictures.
Source: DMD (arXiv 2311.18828), DMD2's alternation (2405.14867), Hyper-SD (2404.13686), Sec. 3.3.

# Differs from DMD: the ODE solution is solved as it is needed, in `pair_steps` DDIM steps and for
# `pairs` samples of a batch, instead of being kept in a data set made beforehand.
# Differs from Hyper-SD: its number of fake updates, noise range and weights are not published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from hypersd.conditions import Text
from hypersd.data import Samples
from hypersd.errors import UsageError
from hypersd.losses import distribution_matching_loss, squared_error
from hypersd.methods.distillation import Weight
from hypersd.methods.matching import FAKE, NOISE_RANGE, WHOLE, AlternatingOptions, AlternatingTask
from hypersd.methods.rewarded import RewardedOptions, RewardedTask
from hypersd.recipe import Recipe
from hypersd.rewards.panel import Panel
from hypersd.sampler import sample_jumps
from hypersd.task import STUDENT


@dataclass(frozen=True, kw_only=True)
class DmdOptions(AlternatingOptions, RewardedOptions):
    """A recipe's `options`.

    mse: weight of the squared error to the teacher's ODE.  pairs: how many samples of a batch have
    one.  pair_steps: DDIM steps of that ODE.  feedback: weight of the rewards' hinges.
    """

    mse: Weight = 0.25
    pairs: Annotated[int, Field(ge=0, le=10_000)] = 4
    pair_steps: Annotated[int, Field(ge=1, le=40)] = 10
    feedback: Weight = 1.0


class DmdTask(RewardedTask, AlternatingTask):
    """A `hypersd.loop.Task` for one step, with pairs of the teacher's ODE, and rewards."""

    options: DmdOptions

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        options = recipe.read_options(DmdOptions)
        if options.pairs > recipe.batch:
            raise UsageError(f"recipe {recipe.name}: options.pairs={options.pairs}: "
                             f"must be at most batch={recipe.batch}")  # fmt: skip
        self.panel = Panel(recipe.name, options.rewards, options.validation, device)
        super().__init__(recipe, device, options)
        if recipe.gradient_checkpointing and self.panel.rewards:
            self.base.vae.enable_gradient_checkpointing()
        self.watch(1)

    def fake_loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The fake score model's loss: squared error of its prediction in noised pictures of the
        student."""
        batch, z, eps = self._draw(step, rng)
        t = self.times(WHOLE, rng)
        with torch.no_grad():
            x = self.one_step(z, batch.text)
            x_t, goal = self.schedule.renoise(x, eps, t), self.schedule.target(x, eps)
        return squared_error(self.student.predict(FAKE, x_t, t, batch.text), goal).mean(), {}

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Distribution matching, the squared error to the teacher's ODE for some samples, and the
        rewards' hinges."""
        batch, z, eps = self._draw(step, rng)
        t, text = self.times(NOISE_RANGE, rng), batch.text
        x = self.one_step(z, text)
        fake, real = self.denoised(self.schedule.renoise(x.detach(), eps, t), t, text)
        total = distribution_matching_loss(x, fake, real).mean()
        scalars = {"gap": float((fake - real).abs().mean())}
        if pairs := self._pairs(len(x)):
            errors = squared_error(x[:pairs], self.solve(z[:pairs], text[:pairs]))
            # of all the batch's pairs the mean; a part of the batch counts for as much as it has
            error = errors.sum() / self.options.pairs * (self.recipe.batch // len(x))
            total = total + self.options.mse * error
            scalars["mse"] = float(errors.detach().mean())
        if self.panel.rewards:
            missed, rewards = self.panel.rated(self.base.pictures(x), batch.captions)
            total, scalars = total + self.options.feedback * missed, scalars | rewards
        return total, scalars

    def one_step(self, z: Tensor, text: Text) -> Tensor:
        """The student's picture x0(z): z [B, C, H, W] pure noise, text of B samples."""
        t = self.schedule.clock.full(z, self.start)
        return self.schedule.x0(z, self.student.predict(STUDENT, z, t, text), t)

    @torch.no_grad()
    def solve(self, z: Tensor, text: Text) -> Tensor:
        """The guided teacher's ODE solution from pure noise, in `pair_steps` DDIM steps."""
        timesteps = self.grid.inference(self.options.pair_steps)
        return sample_jumps(
            lambda x, t: self.teacher_prediction(x, t, text), z, timesteps, self.schedule
        )

    def _draw(self, step: int, rng: torch.Generator) -> tuple[Samples, Tensor, Tensor]:
        """The step's samples, pure noise for the student, noise to diffuse with."""
        recipe = self.recipe
        batch = self.data.samples(self.base, step, recipe.batch, recipe.seed, self.share)
        z, eps = (torch.randn(batch.shape, generator=rng)[self.share].to(self.device)
                  for _ in range(2))  # fmt: skip
        return batch, z, eps

    def _pairs(self, rows: int) -> int:
        """How many rows of this part have a pair: the first `pairs` rows of the batch do."""
        if not self.options.mse:
            return 0
        return min(rows, max(0, self.options.pairs - (self.share.start or 0)))


def build(recipe: Recipe, device: torch.device) -> DmdTask:
    """The task of a recipe with `method: dmd`."""
    return DmdTask(recipe, device)
