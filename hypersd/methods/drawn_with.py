"""How the student of a recipe is sampled; training.json states it, and the benchmark reads it
there.

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
from hypersd.errors import UsageError
from hypersd.exports import FACTS
from hypersd.methods import METHODS
from hypersd.recipe import Recipe
from hypersd.validation import Count, read

FIELD = "drawn_with"  # of a model card's training.json
LAST = 999  # the timestep of pure noise, where one step is made unless a recipe says otherwise


class NotSaid(UsageError):
    """Nothing states how the weights under a feedback adapter are sampled."""


@dataclass(frozen=True)
class Options:
    """The options of a recipe that decide it."""

    points: Count = 40
    start: Count = LAST
    onto: str = ""


def drawn_with(recipe: Recipe) -> Drawing:
    """How the student of a recipe is drawn.

    Raises UsageError where its method does not state it; NotSaid.
    """
    where, usual = f"recipe {recipe.name}", _usual(recipe.method)
    if usual is None:
        raise UsageError(
            f"{where}: method {recipe.method!r} does not say how its students are drawn; "
            "valid: a Drawing in its row of hypersd.methods.METHODS"
        )
    options = read(Options, recipe.options, "options", where=where, extra="ignore")
    if recipe.method == "feedback" and options.onto:
        return _feedback(where, Path(options.onto))
    if usual.original_steps is not None:
        usual = replace(usual, original_steps=options.points)
    if recipe.method in ("dmd", "dmd2") and options.start != LAST:
        return replace(usual, timesteps=(options.start,))
    if recipe.stages and recipe.stages[-1].get("output") == "sample":
        return replace(usual, prediction_type="sample")
    return usual


def of_card(folder: Path) -> Drawing | None:
    """How the weights of a folder are sampled, by their card; None where it does not state it.

    Raises UsageError for a bad value in the card.
    """
    given = _facts(folder).get(FIELD)
    return given and read(Drawing, given, FIELD, where=str(folder / FACTS))


def of_older_card(folder: Path) -> Drawing | None:
    """How weights are sampled whose card names only their recipe or method: by the recipe of that
    name, else by the method. None without a card."""
    facts = _facts(folder)
    name, method = facts.get("recipe"), facts.get("method")
    if name in recipes.names() and (found := recipes.load(str(name))).method == method:
        return drawn_with(found)
    return None if method == "feedback" else _usual(str(method))


def _facts(folder: Path) -> Mapping[str, Any]:
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _feedback(where: str, onto: Path) -> Drawing:
    """As the adapter under the feedback: by its card; of a training that has not run yet by the
    recipe that its folder is named after, `.../<recipe>/<part>`."""
    found = of_card(onto) or of_older_card(onto)
    if found is not None:
        return found
    if not (onto / FACTS).exists() and onto.parent.name in recipes.names():
        return drawn_with(recipes.load(onto.parent.name))
    raise NotSaid(f"{where}: options.onto={onto}: how to draw it is not known; "
                  f"valid: {FIELD} in its {FACTS}")  # fmt: skip


def _usual(method: str) -> Drawing | None:
    """The method's usual sampling."""
    row = METHODS.get(method)
    return row and row.drawn
