"""TDM, trajectory distribution matching: every stretch of the student's path gets the teacher's
distribution.

A student of n moves goes deterministically from pure noise to one of its times t, t_n > ... > t_1.
Its step there goes on to s, the next one; x_s is noised to a random tau of that stretch, s <= tau
<= t, and there fake score model and guided teacher say where x0 should be. So each move answers for
the noise levels that it crosses, instead of each for all of them.
Source: Luo et al. 2025 (arXiv 2503.06674) and its release (`--use_separate --use_huber`).

# Differs from TDM: one stretch a step for all samples of a batch; pure noise at the last of all
# timesteps (the release starts at a chosen one); adapters for both roles on one UNet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from hypersd.losses import trajectory_denoising_loss, trajectory_matching_loss
from hypersd.methods.matching import FAKE, MatchingOptions
from hypersd.methods.on_policy import OnPolicyTask, Step
from hypersd.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TdmOptions(MatchingOptions):
    """A recipe's `options`.

    moves: steps of the student.
    """

    fake_updates: Annotated[int, Field(ge=1, le=100)] = 1
    moves: Annotated[int, Field(ge=1, le=8)] = 4


@dataclass(frozen=True, eq=False)
class Noised:
    """A student's step at a time of its stretch.

    x_tau: [B, C, H, W].  tau: [B].  noise, mixed: [B, C, H, W], what was added to x_s, and what
    lies between x0 and x_tau: x_tau = alpha x0 + sigma mixed.
    """

    x_tau: Tensor
    tau: Tensor
    noise: Tensor
    mixed: Tensor


class TdmTask(OnPolicyTask):
    """A `hypersd.loop.Task` for a fixed number of moves."""

    options: TdmOptions

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        super().__init__(recipe, device, recipe.read_options(TdmOptions))

    def student_step(self, step: int, rng: torch.Generator) -> Step:
        """At one of the student's times, reached by jumps."""
        times = self.grid.inference(self.options.moves)
        last = int(torch.randint(len(times), (1,), generator=rng))
        return self.step_on_path(step, times, last, rng)

    def student_loss(
        self, at: Step, step: int, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Distribution matching at a noise level of the step's stretch."""
        now = self.noised(at, rng)
        fake, real = self.denoised(now.x_tau, now.tau, at.text)
        gap = float((fake - real).abs().mean())
        return trajectory_matching_loss(at.x0, fake, real).mean(), {"gap": gap}

    def fake_loss(
        self, at: Step, step: int, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The weighted squared error of the fake score model's x0."""
        now = self.noised(at, rng)
        prediction = self.student.predict(FAKE, now.x_tau, now.tau, at.text)
        x0, snr = self.schedule.x0(now.x_tau, prediction, now.tau), self.schedule.snr(now.tau)
        return trajectory_denoising_loss(x0, at.x0, snr, now.mixed, now.noise).mean(), {}

    @torch.no_grad()
    def noised(self, at: Step, rng: torch.Generator) -> Noised:
        """x_s, where the student's step leads, noised to a random time of the stretch."""
        noise, tau = self.noise(at.batch, rng), self.times_between(at.s, at.t, rng)
        x_s = self.schedule.jump(at.x_t, at.prediction, at.t, at.s)
        x_tau = self.schedule.renoise(x_s, noise, tau, at.s)
        alpha, sigma = (
            v.to(x_tau.dtype).view(-1, 1, 1, 1) for v in self.schedule.coefficients(tau)
        )
        return Noised(x_tau, tau, noise, (x_tau - alpha * at.x0) / sigma)


def build(recipe: Recipe, device: torch.device) -> TdmTask:
    """The task of a recipe with `method: tdm`."""
    return TdmTask(recipe, device)
