"""DMD2: distribution matching for several steps, with a GAN term instead of the ODE pairs.

A student of `moves` steps is trained on the inputs that it has at inference: one of its timesteps
is drawn, the student samples from pure noise down to it without gradient (x0, then fresh noise up
to the next timestep), and its x0 there is the generated picture. Distribution matching as in DMD;
and a head on the fake score model's middle block tells noised pictures of the data from generated
ones.
Source: DMD2 (arXiv 2405.14867), Sec. 4.1 to 4.4.

# Differs from DMD2: one resident UNet with an adapter each for student and fake score (theirs are
# three UNets), and the head of `hypersd.critic`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from hypersd.conditions import Text
from hypersd.critic import Head
from hypersd.losses import (
    critic_loss,
    distribution_matching_loss,
    generator_loss,
    squared_error,
    weighted_sum,
)
from hypersd.methods.distillation import Weight
from hypersd.methods.matching import FAKE, NOISE_RANGE, WHOLE, AlternatingOptions, AlternatingTask
from hypersd.recipe import Recipe
from hypersd.seeded import seeded
from hypersd.student import STUDENT


@dataclass(frozen=True, kw_only=True)
class Dmd2Options(AlternatingOptions):
    """A recipe's `options`.

    moves: steps of the student; one step is made at `start`.  gan: weight of the generator loss.
    gan_critic: weight of the critic's loss beside the fake score model's.
    """

    fake_updates: Annotated[int, Field(ge=1, le=100)] = 5
    moves: Annotated[int, Field(ge=1, le=8)] = 4
    gan: Weight = 5e-3
    gan_critic: Weight = 1e-2


@dataclass(frozen=True, eq=False)
class Generated:
    """The data of a turn: pictures x0 of the student and of the data, [B, C, H, W], both noised
    to t by eps; text."""

    x: Tensor
    data: Tensor
    t: Tensor
    eps: Tensor
    text: Text


class Dmd2Task(AlternatingTask):
    """A `hypersd.loop.Task`; the critic's head belongs to the fake score model's role."""

    options: Dmd2Options
    sampler = "consistency"

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        super().__init__(recipe, device, recipe.read_options(Dmd2Options))
        width, side = self.base.family.feature_shapes(self.base.network)[-1]
        with seeded(recipe.seed):
            self.head = Head(width, width, side).to(device)
        self.modules["head"] = self.head
        moves = self.options.moves
        self.timesteps = self.grid.inference(moves) if moves > 1 else [self.start]

    def groups(self) -> list[dict[str, Any]]:
        """Each role's parameters; the head learns with the fake score model."""
        student, fake = super().groups()
        return [student, fake, fake | {"params": list(self.head.parameters())}]

    def fake_loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The fake score model's denoising loss on generated pictures, and the critic loss."""
        at = self.generate(step, rng, WHOLE, gradient=False)
        x_t, goal = self.schedule.renoise(at.x, at.eps, at.t), self.schedule.target(at.x, at.eps)
        error = squared_error(self.student.predict(FAKE, x_t, at.t, at.text), goal).mean()
        fake, real = self.logits(x_t, at), self.logits(self._noised_data(at), at)
        adversarial = critic_loss(real, fake).mean()
        right = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        scalars = {"denoising": float(error.detach()), "critic_loss": float(adversarial.detach())}
        total = weighted_sum(error, adversarial, (1.0, self.options.gan_critic))
        return total, scalars | {"right": float(right)}

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Distribution matching, and the generator loss."""
        at = self.generate(step, rng, NOISE_RANGE, gradient=True)
        x_t = self.schedule.renoise(at.x, at.eps, at.t)
        fake, real = self.denoised(x_t, at.t, at.text)
        matching = distribution_matching_loss(at.x, fake, real).mean()
        adversarial = generator_loss(self.logits(x_t, at)).mean()
        scalars = {
            "gap": float((fake - real).abs().mean()),
            "generator_loss": float(adversarial.detach()),
        }
        return weighted_sum(matching, adversarial, (1.0, self.options.gan)), scalars

    def generate(
        self, step: int, rng: torch.Generator, span: tuple[float, float], *, gradient: bool
    ) -> Generated:
        """Draw the random numbers of a turn in a fixed order, and generate the student's
        pictures."""
        recipe, rows = self.recipe, self.share
        batch = self.data.samples(self.base, step, recipe.batch, recipe.seed, rows)
        last = int(torch.randint(len(self.timesteps), (1,), generator=rng))
        z, eps, *fresh = (
            torch.randn(batch.shape, generator=rng)[rows].to(self.device)
            for _ in range(1 + len(self.timesteps))
        )
        t = self.times(span, rng)
        x = self.simulate(z, fresh[:last], batch.text, gradient=gradient)
        return Generated(x, batch.x0.to(self.device), t, eps, batch.text)

    def simulate(self, z: Tensor, fresh: list[Tensor], text: Text, *, gradient: bool) -> Tensor:
        """x0 after len(fresh) moves of the student's own sampler and one more, which alone has a
        gradient where one is wanted. z: pure noise, [B, C, H, W]; fresh: noise of each move."""
        x = z
        with torch.no_grad():
            for i, noise in enumerate(fresh):
                following = self.schedule.clock.full(x, self.timesteps[i + 1])
                x = self.schedule.renoise(self._x0(x, i, text), noise, following)
        with torch.set_grad_enabled(gradient):
            return self._x0(x, len(fresh), text)

    def logits(self, x_t: Tensor, at: Generated) -> Tensor:
        """The critic's logits, [B], from the fake score model's middle block."""
        found: Tensor = self.head(self.student.features(FAKE, x_t, at.t, at.text)[-1])
        return found

    def _x0(self, x: Tensor, move: int, text: Text) -> Tensor:
        t = self.schedule.clock.full(x, self.timesteps[move])
        return self.schedule.x0(x, self.student.predict(STUDENT, x, t, text), t)

    def _noised_data(self, at: Generated) -> Tensor:
        return self.schedule.renoise(at.data, at.eps, at.t)


def build(recipe: Recipe, device: torch.device) -> Dmd2Task:
    """The task of a recipe with `method: dmd2`."""
    return Dmd2Task(recipe, device)
