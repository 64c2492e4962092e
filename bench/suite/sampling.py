"""Sampling settings of weights: from their model card, or from their method."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from hypersd.drawing import JUMPS, TCD, Drawing
from hypersd.methods import METHODS
from hypersd.methods.drawn_with import drawn_with, of_card, of_older_card
from hypersd.recipe import Recipe
from hypersd.shapes.weights import FOLDER as SHIPPED

GUIDANCE = 3.0  # of every teacher of the world and all that is distilled from it


@dataclass(frozen=True)
class Sampling:
    """How images are drawn from weights.

    scheduler: None is the base's own.  guidance: 1 is none, and costs one network evaluation per
    step instead of two; a network that takes it as an input is evaluated once.  original_steps:
    points of the grid that LCM's and TCD's schedulers cut their steps from.  timesteps: replaces
    the scheduler's own choice.  None leaves what the base's scheduler configuration says.
    """

    scheduler: str | None = None
    spacing: str | None = None
    timesteps: tuple[int, ...] | None = None
    eta: float = 0.0
    guidance: float = 1.0
    prediction_type: str | None = None
    original_steps: int | None = None

    @property
    def evaluations_per_step(self) -> int:
        """Network evaluations per image and step."""
        return 2 if self.guidance > 1 else 1


KEYS = tuple(field.name for field in fields(Sampling))


def of(drawing: Drawing) -> Sampling:
    """The sampling of a method, without guidance."""
    return Sampling(**drawing.facts())


LIKE = {
    "teacher": Sampling(guidance=GUIDANCE),
    "hyper_sd": of(JUMPS),
    "hyper_sd_unified": of(TCD),
    **{name: of(row.drawn) for name, row in METHODS.items() if row.drawn and name != "feedback"},
}
"""By the names that a suite's `like` takes; also of a contestant that is called so and has no card
that says it."""


def of_recipe(recipe: Recipe) -> Sampling:
    """The sampling of a recipe's student. Raises UsageError where it is not known."""
    return of(drawn_with(recipe))


def of_weights(name: str) -> Sampling | None:
    """The sampling of a LoRA or a UNet by the card beside it; None where the card does not state
    it.

    name: a folder or a file here, or shipped weights, `shapes/<name>`.
    """
    return _by(of_card, name)


def of_older_weights(name: str) -> Sampling | None:
    """The same from a card that names only recipe or method."""
    return _by(of_older_card, name)


def _by(reader: Callable[[Path], Drawing | None], name: str) -> Sampling | None:
    folder = Path(name)
    if name.startswith("shapes/"):
        folder = SHIPPED / name.removeprefix("shapes/")
    with suppress(OSError, ValueError):  # a path that no file can have
        found = reader(folder if folder.is_dir() else folder.parent)
        return None if found is None else of(found)
    return None
