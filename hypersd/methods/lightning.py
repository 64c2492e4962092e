"""SDXL-Lightning: progressive adversarial distillation, of an adapter or a whole UNet.

A stage {from: m, to: n} teaches one move of an n-step sampler to reach the point that m / n moves
of an m-step teacher do: at t, a point of the n-step grid, both start from the same noised latents
x_t and move to the grid's next point s. The first stage follows the guided base and asks for a
squared error; the later ones follow the student of an earlier stage (`from` names it by its steps,
so a stage may skip a level) and ask a critic: first D(x_s, s, c; x_t, t), which keeps the
trajectory, then D'(x_s, s, c), which gives it up for sharper pictures. With `noised` the critic
sees x_s with noise up to a random t* added, as in the paper's stages of one and two steps.
Source: SDXL-Lightning (arXiv 2402.13929), Sec. 3.2 to 3.7.

In the one-step stages a network may predict x0 instead of the noise (`output: sample`), as theirs.

# Differs from SDXL-Lightning: the number of steps per stage is the recipe's; a stage may weigh a
# squared error beside its critic, which the paper's never do; one adapter, or one whole UNet, goes
# through all stages instead of adapters merged after each.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hypersd.conditions import Text
from hypersd.critic import Critic
from hypersd.drawing import JUMPS, Drawing
from hypersd.losses import critic_loss, generator_loss, squared_error, weighted_sum
from hypersd.methods.distillation import Distillation, DistillationOptions, LearningRate
from hypersd.methods.lightning_stages import LightningStage, read_stages
from hypersd.recipe import Recipe
from hypersd.seeded import seeded
from hypersd.solver import SolverGrid
from hypersd.student import TEACHER
from hypersd.task import STUDENT, Turn

NOISE_LEVELS = (0.01, 0.25, 0.5, 0.75)  # t* / T of the critic's inputs, as in the paper


@dataclass(frozen=True, kw_only=True)
class LightningOptions(DistillationOptions):
    """A recipe's `options`: guidance of the base in the first stage; points of the solver grid;
    rank of the adapters; critic_lr, the recipe's learning rate where 0; trunk of the critics, a
    trained "copy" of the UNet's half or the base's own, "frozen"; full, a whole UNet instead of an
    adapter; init, a folder with the weights that the student starts from, "" for none."""

    critic_lr: LearningRate = 0.0
    trunk: Literal["copy", "frozen"] = "copy"
    full: bool = False
    init: str = ""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Student's and teacher's predictions of the trajectory at s, from x_t at t, for a batch.

    prediction, goal, x_t: [B, C, H, W], the goal without gradient.  s, t: [B] times.
    level, noise: what the critic's input is noised to and with.
    """

    prediction: Tensor
    goal: Tensor
    s: Tensor
    x_t: Tensor
    t: Tensor
    text: Text
    level: Tensor
    noise: Tensor


class LightningTask(Distillation):
    """A `hypersd.loop.Task`; each stage's critic is a role of its own."""

    options: LightningOptions

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        options = recipe.read_options(LightningOptions)
        self.stages = read_stages(recipe, SolverGrid(options.points))
        self.ends = list(accumulate(stage.steps for stage in self.stages))
        self.kept = sorted({s.teacher for s in self.stages} & {s.to for s in self.stages})
        super().__init__(recipe, device, options)
        if options.init:
            self.student.load(STUDENT, Path(options.init))

    def prepare(self) -> dict[str, nn.Module]:
        """Every stage's critic, where it has one."""
        with seeded(self.recipe.seed):
            self.critics: dict[str, Critic] = {
                s.role: self._critic(s) for s in self.stages if s.critic != "none"
            }
        return {**self.critics}

    def roles(self) -> tuple[str, ...]:
        """The student, and those of earlier stages that a later one has as its teacher."""
        return (STUDENT, *(f"{steps}step" for steps in self.kept))

    def whole(self) -> tuple[str, ...]:
        """All of them, or none."""
        return self.roles() if self.options.full else ()

    def _critic(self, stage: LightningStage) -> Critic:
        frozen, recompute = self.options.trunk == "frozen", self.recipe.gradient_checkpointing
        return Critic(
            self.base.network, type(self.base.family), pair=stage.critic == "pair",
            frozen=frozen, recompute=recompute, passes=self.counter,
        ).to(self.device)  # fmt: skip

    def stage(self, step: int) -> LightningStage:
        """The stage that a training step belongs to."""
        return self.stages[bisect_right(self.ends, step)]

    def groups(self) -> list[dict[str, Any]]:
        """The student's parameters, and every critic's own."""
        rate = self.options.critic_lr or self.recipe.lr
        critics = [{"role": role, "params": critic.trained(), "lr": rate, "betas": (0.0, 0.99)}
                   for role, critic in self.critics.items()]  # fmt: skip
        return [*super().groups(), *critics]

    def turns(self, step: int) -> tuple[str, ...]:
        """The student, then the stage's critic, where it has one, on the same predictions."""
        stage = self.stage(step)
        return (STUDENT,) if stage.critic == "none" else (STUDENT, stage.role)

    def turn_loss(self, role: str, step: int, rng: torch.Generator, outputs: Any = None) -> Turn:
        """The student's turn, or the critic's turn on the student's predictions."""
        stage = self.stage(step)
        if role == STUDENT:
            return self.student_turn(stage, step, rng)
        at: Prediction = outputs
        real, fake = self.logits(stage, at.goal, at), self.logits(stage, at.prediction, at)
        right = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        return Turn(critic_loss(real, fake).mean(), {"right": float(right)})

    def student_turn(self, stage: LightningStage, step: int, rng: torch.Generator) -> Turn:
        """Squared error to the teacher's prediction, and the generator loss of the stage's
        critic."""
        self._gives(STUDENT, stage.output)
        at = self.predicted(stage, step, rng)
        error = squared_error(at.prediction, at.goal).mean()
        scalars = {"distance": float(error.detach())}
        outputs = replace(at, prediction=at.prediction.detach())
        if stage.critic == "none":
            return Turn(error, scalars, outputs)
        adversarial = generator_loss(self.logits(stage, at.prediction, at)).mean()
        scalars["generator_loss"] = float(adversarial.detach())
        weights = (stage.distance, stage.adversarial)
        return Turn(weighted_sum(error, adversarial, weights), scalars, outputs)

    def stage_prediction(self, stage: LightningStage, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """The guided base's in the first stage, then that of an earlier student, whose guidance is
        distilled."""
        if stage == self.stages[0]:
            return self.teacher_prediction(x, t, text)
        role = f"{stage.teacher}step"
        self._gives(role, self._output_of(stage.teacher, stage))
        return self.student.predict(role, x, t, text)

    def _gives(self, role: str, output: str) -> None:
        """Read a role's network as one that gives x0, or what the base gives, whatever that is."""
        self.student.prediction.pop(role, None)
        if output == "sample":
            self.student.prediction[role] = output

    def _output_of(self, steps: int, before: LightningStage) -> str:
        """The output type of the kept student of so many steps: that of the last stage that trained
        it."""
        earlier = self.stages[: self.stages.index(before)]
        return [stage.output for stage in earlier if stage.to == steps][-1]

    @torch.no_grad()
    def follow(self, stage: LightningStage, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """The result of teacher / to moves of the stage's teacher from x at t, a point of its
        grid."""
        grid = [*self.grid.inference(stage.teacher), 0]
        after = torch.tensor(grid[1:], device=x.device)
        at = torch.tensor(grid[:-1], device=x.device)
        for _ in range(stage.teacher // stage.to):
            following = after[(t[:, None] == at).int().argmax(1)]
            x = self.schedule.jump(x, self.stage_prediction(stage, x, t, text), t, following)
            t = following
        return x

    def after_step(self, step: int) -> None:
        """At the end of a stage keep the student if it is the teacher of a later one."""
        ended = [s for s, end in zip(self.stages, self.ends, strict=True) if end == step + 1]
        for stage in ended:
            if stage.to in self.kept:
                self.student.average(f"{stage.to}step", 0.0)

    def facts(self) -> dict[str, Any]:
        """For the card: the prediction type."""
        own = self.schedule.prediction_type
        return {"prediction_type": self.student.prediction.get(STUDENT, own)}

    def drawn_with(self) -> Drawing:
        """By jumps, with the prediction type of the last stage that was trained."""
        x0 = self.student.prediction.get(STUDENT) == "sample"
        return replace(JUMPS, prediction_type="sample" if x0 else None)

    def snapshot(self, step: int) -> str | None:
        """The student of each number of steps, after the last stage for that number."""
        number = bisect_right(self.ends, step)
        if step + 1 != self.ends[number] or step + 1 == self.recipe.steps:
            return None
        to = self.stages[number].to
        return None if to in [s.to for s in self.stages[number + 1 :]] else f"{to}step"

    def predicted(self, stage: LightningStage, step: int, rng: torch.Generator) -> Prediction:
        """One move of student and teacher at a step, for the rows of this part."""
        recipe = self.recipe
        batch = self.data.samples(self.base, step, recipe.batch, recipe.seed, self.share)
        grid = torch.tensor([*self.grid.inference(stage.to), 0])
        index = torch.randint(stage.to, batch.shape[:1], generator=rng)
        noise, fresh = (torch.randn(batch.shape, generator=rng) for _ in range(2))
        levels = torch.tensor([self.schedule.clock.at(level) for level in NOISE_LEVELS])
        level = levels[torch.randint(len(levels), batch.shape[:1], generator=rng)]
        drawn = (noise, fresh, level, grid[index], grid[index + 1])
        noise, fresh, level, t, s = (v[self.share].to(self.device) for v in drawn)
        x_t = self.schedule.diffuse(batch.x0.to(self.device), noise, t)
        goal = self.follow(stage, x_t, t, batch.text)
        prediction = self.student.predict(STUDENT, x_t, t, batch.text)
        moved = self.schedule.jump(x_t, prediction, t, s)
        return Prediction(moved, goal, s, x_t, t, batch.text, level, fresh)

    def logits(self, stage: LightningStage, x_s: Tensor, at: Prediction) -> Tensor:
        """The critic's logits, [B], of points x_s in the place of a prediction's, noised where the
        stage says so."""
        s = at.s
        if stage.noised:
            s = torch.maximum(at.level, at.s)
            x_s = self.schedule.renoise(x_s, at.noise, s, at.s)
        pair = (at.x_t, at.t) if stage.critic == "pair" else ()
        with self.student.using(TEACHER):  # a frozen trunk is the base's own
            found: Tensor = self.critics[stage.role](x_s, s, at.text, *pair)
        return found


def build(recipe: Recipe, device: torch.device) -> LightningTask:
    """The task of a recipe with `method: lightning`."""
    return LightningTask(recipe, device)
