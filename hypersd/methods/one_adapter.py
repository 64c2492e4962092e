"""One adapter for several numbers of steps: distribution matching where each of them goes.

A training step draws a number of steps n, goes from pure noise along the student's own path of n
steps to a random one of its times, by jumps or with fresh noise, and moves the picture x0 that the
student gives there by a pull of two terms, each at noise levels of its own (tau, tau'):

    matching   (x0_fake - x0_c) / max(mean|x0 - x0_c|, floor),        tau of all levels
    guidance   -(w - 1) (x0_c - x0_u) / max(mean|x0 - x0_c|, floor),  tau' of the step's own

x0_c and x0_u are the teacher's with and without the text, at x0 noised to tau or tau'. Beside it
stand a consistency loss to the guided teacher within n segments (the anchor: it keeps what the
student began with, and other step counts than the drawn one), late in the training a GAN on real
latents at low noise, and rewards last.
Source: CDM (arXiv 2605.06376) for random paths and the split, itself of Decoupled DMD (2511.22677);
rCM (2510.08431) for a consistency loss beside matching; DMD2 (2405.14867) for the GAN; SenseFlow
(2506.00523) for the fake score model that is drawn towards the student.

# Differs from all: their mixture; weights, shares and the order of its parts are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from hypersd.critic import Head
from hypersd.losses import (
    critic_loss,
    generator_loss,
    mean_distance,
    pseudo_huber,
    pull_loss,
    squared_error,
)
from hypersd.methods.consistency import Draw, consistency_pair
from hypersd.methods.distillation import Weight
from hypersd.methods.matching import FAKE, NOISE_RANGE, WHOLE, MatchingOptions
from hypersd.methods.on_policy import OnPolicyTask, Step
from hypersd.methods.rewarded import RewardedOptions, RewardedTask
from hypersd.methods.tcd import Tcd
from hypersd.recipe import Recipe
from hypersd.rewards.panel import Panel
from hypersd.seeded import seeded
from hypersd.solver import without_and_with
from hypersd.student import STUDENT, TEACHER
from hypersd.validation import Distinct, Fraction, Positive

Moves = Annotated[int, Field(ge=1, le=8)]


@dataclass(frozen=True, kw_only=True)
class OneAdapterOptions(MatchingOptions, RewardedOptions):
    """A recipe's `options`.

    moves: numbers of steps that are drawn, with probabilities in proportion to `shares`.
    renoised: share of training steps whose path gets fresh noise.  jittered_from: the share of the
    training after which the times of a path are moved by up to half of their distance; 1: never.
    matching: weight of the pull.  apart: whether guidance has noise levels of its own; if not, the
    pull is DMD's.  first_guidance: the guidance term's factor in the first of several steps.
    floor: the least that a pull is divided by.  anchor, anchor_end: weight of the consistency loss,
    first and last, linear in between.  fake_kept: r of fake <- r fake + (1 - r) student, after
    every step.  gan, gan_critic: weights of the generator's and the critic's loss, from the share
    gan_from of the training on, at noise of at most the share gan_noise.  feedback: weight of the
    rewards' hinges on pictures of a path's last step, from the share feedback_from on.
    """

    moves: Distinct[Moves] = (1, 2, 4, 8)
    shares: tuple[Positive, ...] = (0.35, 0.25, 0.25, 0.15)
    renoised: Fraction = 0.5
    jittered_from: Fraction = 1 / 3
    matching: Weight = 0.3
    apart: bool = True
    first_guidance: Weight = 0.5
    floor: Annotated[float, Field(gt=0, le=1)] = 0.1
    anchor: Weight = 1.0
    anchor_end: Weight = 0.3
    fake_kept: Fraction = 0.999
    gan: Weight = 5e-3
    gan_critic: Weight = 1e-2
    gan_from: Fraction = 2 / 3
    gan_noise: Fraction = 0.5
    feedback: Weight = 0.02
    feedback_from: Fraction = 0.9

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.moves):
            raise ValueError(f"shares has {len(self.shares)} numbers; "
                             f"must have one for each of moves, {len(self.moves)}")  # fmt: skip
        if self.full and self.fake_kept < 1:  # a whole UNet is no neighbour of an adapter
            raise ValueError(f"fake_kept={self.fake_kept:g}: must be 1 where full is true")


class OneAdapterTask(RewardedTask, OnPolicyTask):
    """A `hypersd.loop.Task`; the critic's head belongs to the fake score model's role."""

    options: OneAdapterOptions

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        options = recipe.read_options(OneAdapterOptions)
        self.panel = Panel(recipe.name, options.rewards, options.validation, device)
        super().__init__(recipe, device, options)
        if recipe.gradient_checkpointing and self.panel.rewards:
            self.base.vae.enable_gradient_checkpointing()
        for moves in options.moves:
            self.grid.check_segments(moves)
        self.consistency = Tcd(recipe, self.grid)
        width, side = self.base.family.feature_shapes(self.base.network)[-1]
        with seeded(recipe.seed):
            self.head = Head(width, width, side).to(device)
        if options.gan:
            self.modules["head"] = self.head
        self.watch(max(options.moves))

    def groups(self) -> list[dict[str, Any]]:
        """Each role's parameters; the head, where there is a GAN, learns with the fake score
        model."""
        student, fake = super().groups()
        head = [fake | {"params": list(self.head.parameters())}] if self.options.gan else []
        return [student, fake, *head]

    def student_step(self, step: int, rng: torch.Generator) -> Step:
        """At a random time of a path with a random number of steps."""
        options = self.options
        shares = torch.tensor(options.shares, dtype=torch.float64)
        moves = options.moves[int(torch.multinomial(shares, 1, generator=rng))]
        last = int(torch.randint(moves, (1,), generator=rng))
        renoised = float(torch.rand(1, generator=rng)) < options.renoised
        shift = torch.rand(moves, generator=rng) - 0.5
        times = self.grid.inference(moves)
        if step >= options.jittered_from * self.recipe.steps:
            clock = self.schedule.clock
            times[1:] = [clock.at((moves - i + float(shift[i])) / moves) for i in range(1, moves)]
        return self.step_on_path(step, times, last, rng, renoised=renoised)

    def student_loss(
        self, at: Step, step: int, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The pull, the anchor, and late in the training the generator's and the rewards' parts."""
        options, done = self.options, step / self.recipe.steps
        pull, scalars = self.pull(at, rng)
        total = options.matching * pull_loss(at.x0, pull).mean()
        if weight := options.anchor + (options.anchor_end - options.anchor) * done:
            anchor = self.anchor_loss(at, rng)
            total = total + weight * anchor
            scalars["anchor"] = float(anchor.detach())
        if self.judged_by_critic(step):
            t = self.times((NOISE_RANGE[0], options.gan_noise), rng)
            x_t = self.schedule.renoise(at.x0, self.noise(at.batch, rng), t)
            adversarial = generator_loss(self.logits(x_t, t, at)).mean()
            total = total + options.gan * adversarial
            scalars["generator_loss"] = float(adversarial.detach())
        if self.panel.rewards and done >= options.feedback_from and at.is_last:
            missed, rewards = self.panel.rated(self.base.pictures(at.x0), at.batch.captions)
            total, scalars = total + options.feedback * missed, scalars | rewards
        return total, scalars

    def judged_by_critic(self, step: int) -> bool:
        """Whether a training step has a critic."""
        return bool(self.options.gan) and step >= self.options.gan_from * self.recipe.steps

    @torch.no_grad()
    def pull(self, at: Step, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Where x0 is pulled away from, [B, C, H, W]: matching, and guidance at its own noise."""
        options, x, text = self.options, at.x0.detach(), at.text
        tau, x_tau = self.renoised(at, self.times(NOISE_RANGE, rng), rng)
        if not options.apart:
            fake, real = self.denoised(x_tau, tau, text)
            pull = (fake - real) / mean_distance(x, real, options.floor)
            return pull, {"gap": float((fake - real).abs().mean())}
        fake, real = (
            self.schedule.x0(x_tau, self.student.predict(role, x_tau, tau, text), tau)
            for role in (FAKE, TEACHER)
        )
        pull = (fake - real) / mean_distance(x, real, options.floor)
        scalars = {"gap": float((fake - real).abs().mean())}
        factor = options.guidance - 1
        if at.done == 0 and not at.is_last:
            factor *= options.first_guidance
        if not factor:
            return pull, scalars
        tau, x_tau = self.renoised(at, self.times_between(at.s, at.t, rng), rng)
        network = self.student.network(TEACHER)
        without, given = (
            self.schedule.x0(x_tau, prediction, tau)
            for prediction in without_and_with(network, x_tau, tau, text, self.empty)
        )
        scalars["guidance_gap"] = float((given - without).abs().mean())
        pull = pull - factor * (given - without) / mean_distance(x, given, options.floor)
        return pull, scalars

    def anchor_loss(self, at: Step, rng: torch.Generator) -> Tensor:
        """TCD's loss on real latents, its jumps within as many segments as the path has steps."""
        draw = Draw.sample(at.batch.shape, self.grid.points, rng)
        s = self.grid.end(draw.index, draw.end, at.moves)[self.share].to(self.device)
        student, text = self.student.network(STUDENT), at.text
        prediction, goal = consistency_pair(
            at.batch.x0.to(self.device), draw.part(self.share, self.device), s,
            teacher=lambda x, t: self.teacher_prediction(x, t, text),
            student=lambda x, t: student(x, t, text), target=lambda x, t: student(x, t, text),
            method=self.consistency, schedule=self.schedule,
        )  # fmt: skip
        return pseudo_huber(prediction, goal).mean()

    def fake_loss(
        self, at: Step, step: int, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The fake score model's denoising loss on the student's picture, and the critic's loss."""
        noise, t = self.noise(at.batch, rng), self.times(WHOLE, rng)
        x_t, goal = self.schedule.renoise(at.x0, noise, t), self.schedule.target(at.x0, noise)
        error = squared_error(self.student.predict(FAKE, x_t, t, at.text), goal).mean()
        if not self.judged_by_critic(step):
            return error, {}
        noise = self.noise(at.batch, rng)
        t = self.times((NOISE_RANGE[0], self.options.gan_noise), rng)
        fake, real = (
            self.logits(self.schedule.renoise(x, noise, t), t, at)
            for x in (at.x0, at.batch.x0.to(self.device))
        )
        right = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        adversarial = critic_loss(real, fake).mean()
        scalars = {"denoising": float(error.detach()), "critic_loss": float(adversarial.detach())}
        return error + self.options.gan_critic * adversarial, scalars | {"right": float(right)}

    def logits(self, x_t: Tensor, t: Tensor, at: Step) -> Tensor:
        """The critic's logits, [B], from the fake score model's middle block."""
        found: Tensor = self.head(self.student.features(FAKE, x_t, t, at.text)[-1])
        return found

    def renoised(self, at: Step, t: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Times, and the step's picture noised to them."""
        return t, self.schedule.renoise(at.x0.detach(), self.noise(at.batch, rng), t)

    def after_step(self, step: int) -> None:
        """Draw the fake score model towards the student."""
        super().after_step(step)
        if self.options.fake_kept < 1:
            self.student.average(FAKE, self.options.fake_kept)

    def facts(self) -> dict[str, Any]:
        """For the card: the numbers of steps."""
        return {"moves": list(self.options.moves), **super().facts()}


def build(recipe: Recipe, device: torch.device) -> OneAdapterTask:
    """The task of a recipe with `method: one_adapter`."""
    return OneAdapterTask(recipe, device)
