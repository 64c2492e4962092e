"""The best weights of a training by a validation figure, and when to stop the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hypersd.errors import UsageError, nearest
from hypersd.validation import Count, Line

FOLDER = "best"  # of an export, beside the final one


@dataclass(frozen=True, kw_only=True)
class BestOptions:
    """A recipe's `best`: what is watched, and whether that ends the training.

    figure: one of those that the task's validation gives.  better: "lower" or "higher" values.
    patience: the training ends after so many validations without a better one; None, never.
    """

    figure: Line
    better: Literal["lower", "higher"] = "lower"
    patience: Count | None = None


@dataclass
class Best:
    """The best value so far, after which step, and how many validations ago; seen: the step that
    was validated last."""

    name: str
    options: BestOptions
    value: float | None = None
    step: int = 0
    waited: int = 0
    seen: int = 0

    def found(self, step: int, figures: Mapping[str, float]) -> bool:
        """Record the figures after a step; returns whether they are the best so far.

        Raises UsageError where the figure is none of them.
        """
        figure = self.options.figure
        if figure not in figures:
            valid = nearest(figure, figures) if figures else "valid: nothing, it validates nothing"
            raise UsageError(f"recipe {self.name}: best.figure={figure!r}; {valid}")
        if step == self.seen:
            return False
        self.seen = step
        value, sign = figures[figure], 1 if self.options.better == "higher" else -1
        if self.value is not None and not sign * value > sign * self.value:
            self.waited += 1
            return False
        self.value, self.step, self.waited = value, step, 0
        return True

    def ended(self) -> str | None:
        """Why the training may end, or None."""
        patience = self.options.patience
        if patience is None or self.waited < patience:
            return None
        return (f"{self.options.figure} was best at step {self.step}, "
                f"{self.waited} validations ago")  # fmt: skip

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        names = ("value", "step", "waited", "seen")
        return {name: getattr(self, name) for name in names}

    def facts(self) -> dict[str, Any]:
        """The facts for a model card."""
        ended = self.ended()
        return {
            "best_by": " ".join((self.options.better, self.options.figure)),
            "best_value": self.value, "best_step": self.step,
            **({"ended": ended} if ended else {}),
        }  # fmt: skip
