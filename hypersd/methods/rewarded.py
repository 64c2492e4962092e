"""Methods with rewards: evaluators guard the training on validation prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypersd.methods.distillation import Distillation
from hypersd.rewards.options import ObjectiveOptions, ValidationOptions
from hypersd.rewards.panel import Panel, RewardGuard
from hypersd.task import STUDENT

JUDGED = 64  # validation prompts that evaluators rate, where the recipe names none


@dataclass(frozen=True, kw_only=True)
class RewardedOptions:
    """A recipe's `options` for rewards and for the evaluators that guard against them
    (`hypersd.rewards.panel`)."""

    rewards: tuple[ObjectiveOptions, ...] = ()
    validation: tuple[ValidationOptions, ...] = ()


class RewardedTask(Distillation):
    """A `hypersd.loop.Task` whose previews are rated by its panel's validation evaluators."""

    panel: Panel
    step: int = 0
    guard: RewardGuard | None = None

    def watch(self, moves: int) -> None:
        """From now on compare pictures of so many steps with those of the present weights."""
        if not self.panel.judges:
            return
        preview = self.validation_preview(JUDGED)
        trained = self.student.parameters(STUDENT)
        self.guard = RewardGuard(
            self.panel, trained, lambda: preview.pictures(moves), preview.prompts
        )
        self.modules["guard"] = self.guard

    def after_step(self, step: int) -> None:
        """Count the steps, for the guard."""
        self.step = step + 1

    def preview(self, path: Path) -> dict[str, float]:
        """Validation prompts at 1, 2, 4 and 8 steps, and the validation evaluators' figures."""
        figures = super().preview(path)
        return figures if self.guard is None else figures | self.guard.watch(self.step)

    def halted(self) -> str | None:
        """The fall of a validation evaluator, or None."""
        return None if self.guard is None else self.guard.reason

    def facts(self) -> dict[str, Any]:
        """For the card: the rewards, and the step of the weights that the guard kept."""
        rewards = {"rewards": self.panel.aims} if self.panel.rewards else {}
        return super().facts() | rewards | ({} if self.guard is None else self.guard.facts())
