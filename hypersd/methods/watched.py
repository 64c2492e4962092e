"""What methods with rewards share: validation evaluators that watch over the training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypersd.base import Base
from hypersd.data import Dataset
from hypersd.methods.preview import Preview
from hypersd.recipe import Recipe
from hypersd.rewards.options import ObjectiveOptions, ValidationOptions
from hypersd.rewards.panel import Guard, Panel
from hypersd.solver import SolverGrid
from hypersd.student import Student
from hypersd.task import STUDENT, Task

JUDGED = 64  # validation prompts that evaluators rate, where the recipe names none


@dataclass(frozen=True, kw_only=True)
class WatchedOptions:
    """What a recipe's `options` say of rewards and of the evaluators that watch over them
    (`hypersd.rewards.panel`)."""

    rewards: tuple[ObjectiveOptions, ...] = ()
    validation: tuple[ValidationOptions, ...] = ()


class WatchedTask(Task):
    """A `hypersd.loop.Task` whose previews are rated by its panel's validation evaluators."""

    recipe: Recipe
    base: Base
    data: Dataset
    student: Student
    grid: SolverGrid
    panel: Panel
    shown: Preview
    step: int = 0
    guard: Guard | None = None

    def watch(self, moves: int, start: int = 0, sampler: str = "jumps") -> None:
        """From now on compare what is drawn in so many moves with what is drawn now."""
        if not self.panel.judges:
            return
        prompts = self.recipe.prompts or self.data.prompts(JUDGED)
        shown = Preview(self.base, self.student, self.grid, prompts=prompts, start=start,
                        sampler=sampler)  # fmt: skip
        watched = self.student.parameters(STUDENT)
        self.guard = Guard(self.panel, watched, lambda: shown.pictures(moves), shown.prompts)
        self.modules["guard"] = self.guard

    def after_step(self, step: int) -> None:
        """Count the steps, for the guard."""
        self.step = step + 1

    def preview(self, path: Path) -> dict[str, float]:
        """Validation prompts at 1, 2, 4 and 8 steps, and what the validation evaluators say."""
        figures = self.shown.write(path)
        return figures if self.guard is None else figures | self.guard.watch(self.step)

    def halted(self) -> str | None:
        """A validation evaluator's fall, if there was one."""
        return None if self.guard is None else self.guard.why

    def watched_facts(self) -> dict[str, Any]:
        """What a model card says of the watch."""
        return {} if self.guard is None else self.guard.facts()
