"""DMD, Hyper-SD's one-step enhancement: one-step pictures get the teacher's distribution.

The student draws x = x0(z) from pure noise z in one step at timestep `start`. A fake score model,
a second adapter on the same UNet, is trained on the student's pictures as they are. At a random t
both denoise x diffused to t, and x moves from what the fake makes of it to what the guided teacher
does (`distribution_matching_loss`). A squared error to the teacher's own ODE solution from the same
z keeps it stable. Rewards, where the recipe has some, are asked of the same pictures.
Source: DMD (arXiv 2311.18828), DMD2's alternation (2405.14867), Hyper-SD (2404.13686), Sec. 3.3.

# Differs from DMD: the ODE solution is solved as it is needed, in `pair_steps` DDIM steps and for
# `pairs` samples of a batch, instead of being kept in a data set made beforehand.
# Differs from Hyper-SD: its number of fake updates, noise range and weights are not published.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from hypersd.base import load_base
from hypersd.conditions import Text
from hypersd.data import Samples, open_dataset
from hypersd.errors import UsageError
from hypersd.losses import distribution_matching_loss, squared_error
from hypersd.methods.distillation import DistillationOptions, LearningRate, Weight
from hypersd.methods.preview import PROMPTS, Preview
from hypersd.methods.watched import WatchedOptions, WatchedTask
from hypersd.recipe import Recipe
from hypersd.rewards.panel import Panel
from hypersd.sampler import sample_jumps
from hypersd.solver import SolverGrid, guided_eps
from hypersd.student import TEACHER, Student
from hypersd.task import STUDENT, Task

FAKE = "fake"
NOISE_RANGE = (20, 980)  # timesteps at which the two scores are compared, as DMD's 0.02 T - 0.98 T


@dataclass(frozen=True, kw_only=True)
class MatchingOptions(DistillationOptions):
    """What DMD's and DMD2's `options` share.

    guidance: of the teacher's score (the fake's is 1).  start: the timestep the student is given
    with pure noise.  fake_updates: of the fake score model per student update.  fake_lr: its
    learning rate, the recipe's where 0.  init: a folder with the weights that the student starts
    from, "" for none.  full: the student is a whole UNet instead of an adapter (Hyper-SD's
    dedicated one-step model).
    """

    start: Annotated[int, Field(ge=1, le=999)] = 999
    fake_updates: Annotated[int, Field(ge=1, le=100)] = 2
    fake_lr: LearningRate = 0.0
    init: str = ""
    full: bool = False


@dataclass(frozen=True, kw_only=True)
class DmdOptions(MatchingOptions, WatchedOptions):
    """A recipe's `options`.

    mse: weight of the squared error to the teacher's ODE.  pairs: how many samples of a batch have
    one.  pair_steps: DDIM steps of that ODE.  feedback: weight of the rewards' hinges.
    """

    mse: Weight = 0.25
    pairs: Annotated[int, Field(ge=0, le=10_000)] = 4
    pair_steps: Annotated[int, Field(ge=1, le=40)] = 10
    feedback: Weight = 1.0


class MatchingTask(Task):
    """A `hypersd.loop.Task` with two roles: the student, and the fake score model before it."""

    divides = True
    sampler: ClassVar[str] = "jumps"

    def __init__(self, recipe: Recipe, device: torch.device, options: MatchingOptions) -> None:
        self.recipe, self.device, self.options = recipe, device, options
        self.grid = SolverGrid(self.options.points)
        self.base = load_base(recipe.base, device, recipe.base_precision)
        self.schedule = self.base.schedule
        self.data = open_dataset(recipe.data, self.base)
        self.student = Student(
            self.base.unet, self.schedule,
            rank=self.options.rank, seed=recipe.seed, recompute=recipe.gradient_checkpointing,
            adapters=(FAKE,) if self.options.full else (STUDENT, FAKE),
            full=(STUDENT,) if self.options.full else (),
        )  # fmt: skip
        if self.options.init:
            self.student.load(STUDENT, Path(self.options.init))
        self.empty = self.base.encode_empty()
        self.shown = Preview(
            self.base, self.student, self.grid,
            prompts=recipe.prompts or self.data.prompts(PROMPTS),
            guidance=self.options.guidance, sampler=self.sampler, start=self.options.start,
        )  # fmt: skip
        self.modules: dict[str, nn.Module] = {"unet": self.base.unet, **self.student.copies}

    def groups(self) -> list[dict[str, Any]]:
        """Each role's parameters by its name."""
        fake: dict[str, Any] = {"role": FAKE, "params": self.student.parameters(FAKE)}
        if self.options.fake_lr:
            fake["lr"] = self.options.fake_lr
        return [{"params": self.student.parameters(STUDENT)}, fake]

    def turns(self, step: int) -> tuple[str, ...]:
        """The fake score model `fake_updates` times, then the student."""
        return (FAKE,) * self.options.fake_updates + (STUDENT,)

    def turn_loss(
        self, role: str, step: int, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The fake's denoising loss on the student's pictures, or the student's."""
        return self.fake_loss(step, rng) if role == FAKE else self.loss(step, rng)

    def fake_loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The fake's denoising loss on the student's pictures."""
        raise NotImplementedError

    def teacher_eps(self, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """The guided teacher's noise."""
        network = self.student.network(TEACHER)
        return guided_eps(network, x, t, text, self.empty, self.options.guidance)

    def preview(self, path: Path) -> dict[str, float]:
        """Validation prompts at 1, 2, 4 and 8 steps."""
        return self.shown.write(path)

    def export(self, out: Path) -> dict[str, Any]:
        """Write the student's weights; returns what a model card says of them."""
        path, options = self.student.export(out), self.options
        return {
            "method": self.recipe.method, "base": self.recipe.base, "guidance": options.guidance,
            "rank": options.rank, "start": options.start, "fake_updates": options.fake_updates,
            "bytes": path.stat().st_size,
        }  # fmt: skip

    def _times(self, span: tuple[int, int], rng: torch.Generator) -> Tensor:
        """A timestep for each of the rows in turn."""
        return torch.randint(*span, (self.recipe.batch,), generator=rng)[self.share].to(self.device)


class DmdTask(WatchedTask, MatchingTask):
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
        self.watch(1, self.options.start)

    def fake_loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Squared error of the noise that the fake sees in noised pictures of the student."""
        batch, z, eps = self._draw(step, rng)
        t = self._times((0, self.schedule.steps), rng)
        with torch.no_grad():
            x_t = self.schedule.renoise(self.one_step(z, batch.text), eps, t)
        return squared_error(self.student.predict(FAKE, x_t, t, batch.text), eps).mean(), {}

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Distribution matching, the squared error to the teacher's ODE for some samples, and what
        the rewards miss."""
        batch, z, eps = self._draw(step, rng)
        t, text = self._times(NOISE_RANGE, rng), batch.text
        x = self.one_step(z, text)
        with torch.no_grad():
            x_t = self.schedule.renoise(x.detach(), eps, t)
            fake = self.schedule.x0_from_eps(x_t, self.student.predict(FAKE, x_t, t, text), t)
            real = self.schedule.x0_from_eps(x_t, self.teacher_eps(x_t, t, text), t)
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
        t = torch.full((len(z),), self.options.start, device=z.device)
        return self.schedule.x0_from_eps(z, self.student.predict(STUDENT, z, t, text), t)

    @torch.no_grad()
    def solve(self, z: Tensor, text: Text) -> Tensor:
        """Where the guided teacher's ODE takes pure noise, in `pair_steps` DDIM steps."""
        timesteps = self.grid.inference(self.options.pair_steps)
        return sample_jumps(lambda x, t: self.teacher_eps(x, t, text), z, timesteps, self.schedule)

    def export(self, out: Path) -> dict[str, Any]:
        """Write the student's weights; the card also names the rewards."""
        rewards = {"rewards": self.panel.aims} if self.panel.rewards else {}
        return super().export(out) | rewards | self.watched_facts()

    def cost(self, steps: int) -> dict[str, int]:
        """Two passes a picture in each fake update; in the student's, its own, both scores' and
        those of the ODE."""
        options, seen = self.options, steps * self.recipe.batch
        guided = 1 if options.guidance == 1 else 2
        solved = steps * options.pairs * options.pair_steps * guided if options.mse else 0
        return {
            "unet_forwards": seen * (2 + guided + 2 * options.fake_updates) + solved,
            "unet_backwards": seen * (1 + options.fake_updates),
        }

    def _draw(self, step: int, rng: torch.Generator) -> tuple[Samples, Tensor, Tensor]:
        """The step's samples, pure noise for the student, noise to diffuse with."""
        recipe = self.recipe
        batch = self.data.samples(self.base, step, recipe.batch, recipe.seed, self.share)
        z, eps = (torch.randn(batch.shape, generator=rng)[self.share].to(self.device)
                  for _ in range(2))  # fmt: skip
        return batch, z, eps

    def _pairs(self, rows: int) -> int:
        """How many of the rows in turn have a pair: the batch's first ones do."""
        if not self.options.mse:
            return 0
        return min(rows, max(0, self.options.pairs - (self.share.start or 0)))


def build(recipe: Recipe, device: torch.device) -> DmdTask:
    """The task of a recipe with `method: dmd`."""
    return DmdTask(recipe, device)
