"""What LCM, TCD and TSCD share: two neighbouring points of a trajectory must land on one place.

One step: noise a latent to a solver point t, let the teacher take one guided ODE step to t_prev,
and ask that the student from t and its target from t_prev land on the same point. A method says
where that is (`endpoint`) and how one lands there (`land`), and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from hypersd.base import load_base
from hypersd.conditions import Text
from hypersd.data import open_dataset
from hypersd.losses import DISTANCES
from hypersd.methods.distillation import DistillationOptions, LearningRate
from hypersd.methods.preview import PROMPTS, Preview
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule
from hypersd.solver import Denoiser, SolverGrid, guided_eps, ode_step
from hypersd.student import TEACHER, Student
from hypersd.task import Task
from hypersd.validation import Fraction, one_of


@dataclass(frozen=True, kw_only=True)
class ConsistencyOptions(DistillationOptions):
    """A consistency recipe's `options`.

    distance: "mse" or "huber".  target: whose prediction is the goal, the "student" itself without
    gradient or its "ema".  ema: rate of that average.  offset_noise: standard deviation of a shift
    per sample and channel that is added to the noise.  critic_lr: the critic's learning rate where
    a method has one.  full: student and target are whole UNets instead of adapters.
    """

    distance: Annotated[str, one_of(DISTANCES)] = "huber"
    target: Literal["student", "ema"] = "student"
    ema: Fraction = 0.95
    offset_noise: Fraction = 0.0
    critic_lr: LearningRate = 0.0
    full: bool = False


@dataclass(frozen=True, eq=False)
class Draw:
    """All that chance decides in a step.

    index: [B] solver indices.  noise: [B, C, H, W].  end: [B] in [0, 1), for the end point.
    """

    index: Tensor
    noise: Tensor
    end: Tensor

    @classmethod
    def sample(cls, shape: torch.Size, points: int, rng: torch.Generator) -> Draw:
        """Draw on the CPU, in one order for all methods: equal seeds give equal index and noise."""
        index = torch.randint(points, shape[:1], generator=rng)
        noise = torch.randn(shape, generator=rng)
        return cls(index, noise, torch.rand(shape[:1], generator=rng))

    def part(self, rows: slice, device: torch.device) -> Draw:
        """Some rows of it, on a device."""
        return Draw(*(v[rows].to(device) for v in (self.index, self.noise, self.end)))


class Method(ABC):
    """Where a method's consistency function lands, and how. No weights, no randomness.

    options: what its recipes say.  sampler: what its previews are drawn with, a key of
    `hypersd.methods.preview.SAMPLERS`.
    """

    options: ClassVar[type[ConsistencyOptions]] = ConsistencyOptions
    sampler: ClassVar[str] = "jumps"

    def __init__(self, recipe: Recipe, grid: SolverGrid) -> None:
        self.grid = grid

    @abstractmethod
    def endpoint(self, step: int, draw: Draw) -> Tensor:
        """The timesteps s to land on, [B] int64 with s <= t_prev, at a training step."""

    @abstractmethod
    def land(self, x_t: Tensor, eps: Tensor, t: Tensor, s: Tensor, schedule: Schedule) -> Tensor:
        """The consistency function: from x_t, with the network's eps, to the point at s."""


@dataclass(frozen=True, eq=False)
class Landing:
    """Where the student landed from x_t, and where it should have: all of one step's samples.

    prediction, goal, x_t: [B, C, H, W], the goal without gradient.  s, t: [B] timesteps landed on
    and set out from.  text: the conditions.
    """

    prediction: Tensor
    goal: Tensor
    s: Tensor
    x_t: Tensor
    t: Tensor
    text: Text


def consistency_pair(
    x0: Tensor,
    draw: Draw,
    s: Tensor,
    *,
    teacher: Denoiser,
    student: Denoiser,
    target: Denoiser,
    method: Method,
    schedule: Schedule,
) -> tuple[Tensor, Tensor]:
    """Where the student lands from t, and where its target lands from one ODE step further.

    x0: [B, C, H, W]; draw and s as drawn for it; everything on one device.
    Returns (prediction, goal), each [B, C, H, W]; the goal has no gradient.
    """
    x_t, t = set_out(x0, draw, method.grid, schedule)
    t_prev = method.grid.previous.to(x0.device)[draw.index]
    with torch.no_grad():
        x_prev = ode_step(teacher, x_t, t, t_prev, schedule)
        goal = method.land(x_prev, target(x_prev, t_prev), t_prev, s, schedule)
    return method.land(x_t, student(x_t, t), t, s, schedule), goal


def set_out(x0: Tensor, draw: Draw, grid: SolverGrid, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """The noised latents x_t and their timesteps t."""
    t = grid.timesteps.to(x0.device)[draw.index]
    return schedule.diffuse(x0, draw.noise, t), t


class ConsistencyTask(Task):
    """A `hypersd.loop.Task` around `consistency_pair`, for any method of this kind."""

    divides = True

    def __init__(self, recipe: Recipe, device: torch.device, method: type[Method]) -> None:
        self.recipe, self.device = recipe, device
        self.options = recipe.read_options(method.options)
        self.method = method(recipe, SolverGrid(self.options.points))
        self.base = load_base(recipe.base, device, recipe.base_precision)
        self.schedule = self.base.schedule
        self.data = open_dataset(recipe.data, self.base)
        self.modules: dict[str, nn.Module] = {"unet": self.base.unet, **self.networks()}
        roles, full = self.roles(), self.options.full
        self.student = Student(
            self.base.unet, self.schedule, rank=self.options.rank, seed=recipe.seed,
            recompute=recipe.gradient_checkpointing,
            adapters=() if full else roles, full=roles if full else (),
        )  # fmt: skip
        self.modules |= self.student.copies
        self.empty = self.base.encode_empty()
        self.shown = Preview(
            self.base, self.student, self.method.grid,
            prompts=recipe.prompts or self.data.prompts(PROMPTS),
            guidance=self.options.guidance, sampler=self.method.sampler,
        )  # fmt: skip

    def networks(self) -> dict[str, nn.Module]:
        """Further networks of a method, made while the UNet has no adapters yet."""
        return {}

    def roles(self) -> tuple[str, ...]:
        """The networks beside the teacher, the student's first."""
        return ("student", "target") if self.options.target == "ema" else ("student",)

    def groups(self) -> list[dict[str, Any]]:
        """One group: the student's parameters, found by name."""
        return [{"params": self.student.parameters("student")}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The mean distance over the step's rows; a function of weights, seed and step."""
        recipe = self.recipe
        batch = self.data.samples(self.base, step, recipe.batch, recipe.seed, self.share)
        whole = self._draw(batch.shape, rng)
        draw = whole.part(self.share, self.device)
        s = self.method.endpoint(step, whole)[self.share].to(self.device)
        landing = self._land(step, batch.x0.to(self.device), batch.text, draw, s)
        losses, scalars = self.compare(step, landing)
        noisy = draw.index >= self.method.grid.points * 3 // 4
        if noisy.any():
            scalars["loss_noisiest_quarter"] = float(losses.detach()[noisy].mean())
        return losses.mean(), scalars

    def compare(self, step: int, landing: Landing) -> tuple[Tensor, dict[str, float]]:
        """How far the student landed from its goal, [B], and scalars to log."""
        return DISTANCES[self.options.distance](landing.prediction, landing.goal), {}

    def teacher_eps(self, step: int, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """The noise that the ODE is followed with: the base's, guided."""
        network = self.student.network(TEACHER)
        return guided_eps(network, x, t, text, self.empty, self.options.guidance)

    def after_step(self, step: int) -> None:
        """Move the target's average, where there is one."""
        if self.options.target == "ema":
            self.student.average("target", self.options.ema)

    def preview(self, path: Path) -> dict[str, float]:
        """Validation prompts at 1, 2, 4 and 8 steps, with the method's own sampler."""
        return self.shown.write(path)

    def export(self, out: Path) -> dict[str, Any]:
        """Write the student's weights; returns what a model card says of them."""
        path = self.student.export(out)
        return {
            "method": self.recipe.method,
            "base": self.recipe.base,
            "guidance": self.options.guidance,
            "solver_points": self.options.points,
            "rank": self.options.rank,
            "parameters": sum(p.numel() for p in self.student.parameters("student")),
            "bytes": path.stat().st_size,
        }

    def cost(self, steps: int) -> dict[str, int]:
        """Student, target and the teacher's one or two passes, per picture."""
        seen = steps * self.recipe.batch
        return {
            "unet_forwards": seen * (3 if self.options.guidance == 1 else 4),
            "unet_backwards": seen,
        }

    def _draw(self, shape: torch.Size, rng: torch.Generator) -> Draw:
        draw = Draw.sample(shape, self.method.grid.points, rng)
        if self.options.offset_noise:
            shift = torch.randn(*shape[:2], 1, 1, generator=rng) * self.options.offset_noise
            draw = Draw(draw.index, draw.noise + shift, draw.end)
        return draw

    def _land(self, step: int, x0: Tensor, text: Text, draw: Draw, s: Tensor) -> Landing:
        network = self.student.network
        target = "target" if self.options.target == "ema" else "student"
        x_t, t = set_out(x0, draw, self.method.grid, self.schedule)
        prediction, goal = consistency_pair(
            x0, draw, s,
            teacher=lambda x, t: self.teacher_eps(step, x, t, text),
            student=lambda x, t: network("student")(x, t, text),
            target=lambda x, t: network(target)(x, t, text),
            method=self.method,
            schedule=self.schedule,
        )  # fmt: skip
        return Landing(prediction, goal, s, x_t, t, text)
