"""How the student of a recipe is drawn: what its method's model card says, and the benchmark reads.

Needs no torch, so that a plan can ask before anything is trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypersd import recipe as recipes
from hypersd.drawing import Drawing
from hypersd.exports import FACTS
from hypersd.methods import METHODS
from hypersd.recipe import Recipe
from hypersd.validation import Count, read

FIELD = "drawn_with"  # of a model card's training.json
LAST = 999  # the timestep of pure noise, where one step is made unless a recipe says otherwise


@dataclass(frozen=True)
class Options:
    """What a recipe's options say of it."""

    points: Count = 40
    start: Count = LAST
    onto: str = ""


def drawn_with(recipe: Recipe) -> Drawing | None:
    """How the student of a recipe is drawn; None where the method does not say, or where a feedback
    adapter lies on one of which nothing is known."""
    usual = _usual(recipe.method)
    if usual is None:
        return None
    where = f"recipe {recipe.name}"
    options = read(Options, recipe.options, "options", where=where, extra="ignore")
    if recipe.method == "feedback":
        return _feedback(options.onto) if options.onto else usual
    if usual.original_steps is not None:
        usual = replace(usual, original_steps=options.points)
    if recipe.method in ("dmd", "dmd2") and options.start != LAST:
        return replace(usual, timesteps=(options.start,))
    if recipe.stages and recipe.stages[-1].get("output") == "sample":
        return replace(usual, prediction_type="sample")
    return usual


def of_card(folder: Path) -> Drawing | None:
    """How the weights of a folder are drawn, as their card says; None where it does not.

    Raises UsageError for a card that says it wrongly.
    """
    given = _facts(folder).get(FIELD)
    return given and read(Drawing, given, FIELD, where=str(folder / FACTS))


def _facts(folder: Path) -> Mapping[str, Any]:
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _feedback(onto: str) -> Drawing | None:
    """As what it was learned on top of: by that one's card, else by the recipe that it was trained
    with, `.../<recipe>/<part>`, else by its card's method."""
    folder = Path(onto)
    if (found := of_card(folder)) is not None:
        return found
    if folder.parent.name in recipes.names():
        return drawn_with(recipes.load(folder.parent.name))
    return _usual(str(_facts(folder).get("method")))


def _usual(method: str) -> Drawing | None:
    """Where a recipe's options say nothing else."""
    row = METHODS.get(method)
    return row and row.drawn
