"""Make the shipped weights from nothing: `python -m hypersd.shapes.make [NAME ...]`.

NAME: any of `hypersd.shapes.weights.NAMES`, all of them where left out. What must be trained and
shipped first is read off the recipes: the trainings that their data and options point into, and the
shipped weights that they name. The order is printed, then done, in runs/train/<recipe>: a training
that is done is not repeated, one that was stopped goes on from its newest checkpoint.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from hypersd import __main__ as command
from hypersd import recipe as recipes
from hypersd.errors import UsageError, exit_code, nearest
from hypersd.shapes.ship import TRAININGS, ship
from hypersd.shapes.weights import NAMES, training

Step = tuple[str, str]
"""("train", recipe) or ("ship", name of shipped weights)."""
WEIGHTS = ("folder", "clip", "segmenter")  # keys of data and options that name shipped weights
_TRAINING = re.compile(rf"{TRAININGS}/(\w+)/")


def order(names: Sequence[str] = NAMES) -> list[Step]:
    """All that gives these shipped weights, each step after those that it needs.

    Raises UsageError for an unknown name.
    """
    graph: dict[Step, list[Step]] = {}
    left: list[Step] = [("ship", name) for name in names]
    while left:
        step = left.pop()
        if step not in graph:
            graph[step] = needs(step)
            left += graph[step]
    return [*TopologicalSorter(graph).static_order()]


def needs(step: Step) -> list[Step]:
    """The steps that must be done right before a step. Raises UsageError for unknown weights."""
    kind, name = step
    if kind == "ship":
        if name not in NAMES:
            raise UsageError(f"no shipped weights {name!r}; {nearest(name, NAMES)}")
        return [("train", training(name)[0])]
    recipe = recipes.load(name)
    found = list(_named({"data": recipe.data, "options": recipe.options}))
    if not recipe.method.startswith("shapes_"):  # the world's own networks stand on no base
        found.append(("ship", recipe.base))
    return found


def _named(value: Any, key: str = "") -> Iterator[Step]:
    """The trainings and shipped weights in a mapping of a recipe."""
    if isinstance(value, dict):
        for inner, one in value.items():
            yield from _named(one, inner)
    elif isinstance(value, list):
        for one in value:
            yield from _named(one, key)
    elif isinstance(value, str):
        if match := _TRAINING.match(value):
            yield "train", match[1]
        elif key in WEIGHTS and value in NAMES:
            yield "ship", value


def follow(
    steps: Sequence[Step],
    train: Callable[[list[str]], int] = command.main,
    ship: Callable[[str], Path] = ship,
) -> int:
    """Print the steps and do them; 0, or the exit code of the first training that failed."""
    print("\n".join(f"{kind} {name}" for kind, name in steps), flush=True)
    for kind, name in steps:
        if kind == "ship":
            print(ship(name), flush=True)
        elif code := train([f"recipe={name}"]):
            return code
    return 0


def main(names: list[str]) -> int:
    """Print the order and do it; 0 when done, 2 for what the user must change."""
    return exit_code(lambda: follow(order(names or NAMES)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
