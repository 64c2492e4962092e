"""The training step of LCM, TCD and TSCD: f maps two neighbouring points of a trajectory to one.

One step: noise a latent to a solver point t, let the teacher take one guided ODE step to t_prev,
and minimise the distance between the consistency function f(x, t, s) of the student at t and of its
target at t_prev. A method defines only s (`endpoint`) and f.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from hypersd.clock import Clock
from hypersd.conditions import Text
from hypersd.losses import DISTANCES
from hypersd.methods.distillation import Distillation, DistillationOptions, LearningRate
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule
from hypersd.solver import Denoiser, SolverGrid, ode_solution
from hypersd.student import STUDENT
from hypersd.task import Turn
from hypersd.validation import Fraction, one_of

TARGET = "target"


@dataclass(frozen=True, kw_only=True)
class ConsistencyOptions(DistillationOptions):
    """A consistency recipe's `options`.

    distance: "mse" or "huber".  target: the network that predicts the goal, the "student" itself
    without gradient or its "ema". ema: rate of that average.  offset_noise: standard deviation of a
    shift per sample and channel that is added to the noise.  critic_lr: the critic's learning rate
    where a method has one.  full: student and target are whole UNets instead of adapters.
    ode_steps: DDIM steps of the base's ODE from a solver point to the one below.
    """

    distance: Annotated[str, one_of(DISTANCES)] = "huber"
    target: Literal["student", "ema"] = "student"
    ema: Fraction = 0.95
    offset_noise: Fraction = 0.0
    critic_lr: LearningRate = 0.0
    full: bool = False
    ode_steps: Annotated[int, Field(ge=1, le=100)] = 1


@dataclass(frozen=True, eq=False)
class Draw:
    """The random numbers of a step.

    index: [B] solver indices.  noise: [B, C, H, W].  end: [B] in [0, 1), for the end point.
    fresh: [B, C, H, W], for a critic that noises what it judges.
    """

    index: Tensor
    noise: Tensor
    end: Tensor
    fresh: Tensor | None = None

    @classmethod
    def sample(cls, shape: torch.Size, points: int, rng: torch.Generator) -> Draw:
        """Draw on the CPU, in one order for all methods: equal seeds give equal index and noise."""
        index = torch.randint(points, shape[:1], generator=rng)
        noise = torch.randn(shape, generator=rng)
        return cls(index, noise, torch.rand(shape[:1], generator=rng))

    def part(self, rows: slice, device: torch.device) -> Draw:
        """Some rows of the draw, on a device."""
        drawn = (self.index, self.noise, self.end, self.fresh)
        return Draw(*(None if v is None else v[rows].to(device) for v in drawn))  # type: ignore[arg-type]


class Method(ABC):
    """A method's consistency function and its end points. No weights, no randomness.

    options: what its recipes say.  sampler: what its previews are drawn with, a key of
    `hypersd.methods.preview.SAMPLERS`.
    """

    options: ClassVar[type[ConsistencyOptions]] = ConsistencyOptions
    sampler: ClassVar[str] = "jumps"

    def __init__(self, recipe: Recipe, grid: SolverGrid) -> None:
        self.grid = grid

    def on(self, clock: Clock) -> SolverGrid:
        """Put its grids on a base's clock; the recipe's is what comes back."""
        self.grid = self.grid.on(clock)
        return self.grid

    def segments(self, step: int) -> int:
        """How many segments the trajectory is cut into at a training step."""
        return 1

    def grid_at(self, step: int) -> SolverGrid:
        """The solver grid of a training step."""
        return self.grid

    @abstractmethod
    def endpoint(self, step: int, draw: Draw) -> Tensor:
        """The times s of a training step, [B] with s <= t_prev."""

    @abstractmethod
    def consistency_function(
        self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor, schedule: Schedule
    ) -> Tensor:
        """f(x_t, t, s), with the network's prediction at x_t: the trajectory's point at s."""


@dataclass(frozen=True, eq=False)
class ConsistencyPair:
    """f of the student at t, and of its target at t_prev, of a step's samples.

    prediction, goal, x_t: [B, C, H, W], the goal without gradient.  s, t: [B] times of both,
    and of x_t.  text: the conditions.  draw: what they were made from.
    """

    prediction: Tensor
    goal: Tensor
    s: Tensor
    x_t: Tensor
    t: Tensor
    text: Text
    draw: Draw

    def detached(self) -> ConsistencyPair:
        """The same without the student's gradient."""
        return replace(self, prediction=self.prediction.detach())


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
    step: int = 0,
    ode_steps: int = 1,
) -> tuple[Tensor, Tensor]:
    """f of the student at t, and of its target one solver point further.

    x0: [B, C, H, W]; draw and s as drawn for it at a training step; everything on one device.
    ode_steps: moves with the teacher from t to t_prev.
    Returns (prediction, goal), each [B, C, H, W]; the goal has no gradient.
    """
    grid = method.grid_at(step)
    x_t, t = noised(x0, draw, grid, schedule)
    t_prev = grid.previous.to(x0.device)[draw.index]
    f = method.consistency_function
    with torch.no_grad():
        x_prev = ode_solution(teacher, x_t, t, t_prev, schedule, steps=ode_steps)
        goal = f(x_prev, target(x_prev, t_prev), t_prev, s, schedule)
    return f(x_t, student(x_t, t), t, s, schedule), goal


def noised(x0: Tensor, draw: Draw, grid: SolverGrid, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """The noised latents x_t and their times t."""
    t = grid.timesteps.to(x0.device)[draw.index]
    return schedule.diffuse(x0, draw.noise, t), t


class ConsistencyTask(Distillation):
    """A `hypersd.loop.Task` around `consistency_pair`, for any method of this kind."""

    options: ConsistencyOptions

    def __init__(self, recipe: Recipe, device: torch.device, method: type[Method]) -> None:
        options = recipe.read_options(method.options)
        self.method, self.sampler = method(recipe, SolverGrid(options.points)), method.sampler
        super().__init__(recipe, device, options)

    def on(self, clock: Clock) -> SolverGrid:
        """The method's."""
        return self.method.on(clock)

    def roles(self) -> tuple[str, ...]:
        """The student, and its average if that is the target."""
        return (STUDENT, TARGET) if self.options.target == "ema" else (STUDENT,)

    def whole(self) -> tuple[str, ...]:
        """All of them, or none."""
        return self.roles() if self.options.full else ()

    def turn_loss(self, role: str, step: int, rng: torch.Generator, outputs: Any = None) -> Turn:
        """The mean distance over the step's rows, a function of weights, seed and step; its
        outputs are the pair."""
        pair = self.pair(step, rng)
        losses, scalars = self.compare(step, pair)
        noisiest = pair.draw.index >= self.method.grid_at(step).points * 3 // 4
        if noisiest.any():
            scalars["loss_noisiest_quarter"] = float(losses.detach()[noisiest].mean())
        return Turn(losses.mean(), scalars, pair.detached())

    def compare(self, step: int, pair: ConsistencyPair) -> tuple[Tensor, dict[str, float]]:
        """The loss of each sample, [B], and scalars to log."""
        return self.distance(pair), {}

    def distance(self, pair: ConsistencyPair) -> Tensor:
        """The distance of each sample's prediction to its goal, [B]."""
        return DISTANCES[self.options.distance](pair.prediction, pair.goal)

    def pair(self, step: int, rng: torch.Generator) -> ConsistencyPair:
        """The pair that a step compares, for the rows of this part."""
        recipe, network = self.recipe, self.student.network
        batch = self.data.samples(self.base, step, recipe.batch, recipe.seed, self.share)
        whole = self.draw(step, batch.shape, rng)
        draw, text = whole.part(self.share, self.device), batch.text
        x0 = batch.x0.to(self.device)
        s = self.method.endpoint(step, whole)[self.share].to(self.device)
        target = TARGET if self.options.target == "ema" else STUDENT
        prediction, goal = consistency_pair(
            x0, draw, s,
            teacher=lambda x, t: self.ode_prediction(step, x, t, text),
            student=lambda x, t: network(STUDENT)(x, t, text),
            target=lambda x, t: network(target)(x, t, text),
            method=self.method, schedule=self.schedule, step=step, ode_steps=self.ode_steps(step),
        )  # fmt: skip
        x_t, t = noised(x0, draw, self.method.grid_at(step), self.schedule)
        return ConsistencyPair(prediction, goal, s, x_t, t, text, draw)

    def draw(self, step: int, shape: torch.Size, rng: torch.Generator) -> Draw:
        """The random numbers of a step, for the whole batch."""
        draw = Draw.sample(shape, self.method.grid_at(step).points, rng)
        if self.options.offset_noise:
            shift = torch.randn(*shape[:2], 1, 1, generator=rng) * self.options.offset_noise
            draw = replace(draw, noise=draw.noise + shift)
        return draw

    def ode_prediction(self, step: int, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """The prediction that solves the ODE at a step: the guided base's."""
        return self.teacher_prediction(x, t, text)

    def ode_steps(self, step: int) -> int:
        """Moves with `ode_prediction` to the solver point below."""
        return self.options.ode_steps

    def after_step(self, step: int) -> None:
        """Update the target's average, if the target is one."""
        if self.options.target == "ema":
            self.student.average(TARGET, self.options.ema)

    def facts(self) -> dict[str, Any]:
        """How many parameters the student has."""
        return {"parameters": sum(p.numel() for p in self.student.parameters(STUDENT))}
