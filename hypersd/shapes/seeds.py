"""Train shipped students again from another seed, and keep the weights:

    python -m hypersd.shapes.seeds 1 reports/trainings/weights tcd hyper_sd_2step

A claim about a method rests on several trainings of it. All of a chain is trained anew, in
runs/seed<n>/<recipe>; what is done is not repeated. NAME: of `hypersd.shapes.weights.STUDENTS`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypersd import __main__ as command
from hypersd import recipe as recipes
from hypersd.errors import UsageError, exit_code, nearest
from hypersd.shapes.make import order
from hypersd.shapes.ship import TRAININGS, finished, put
from hypersd.shapes.weights import STUDENTS, training

USAGE = "usage: python -m hypersd.shapes.seeds SEED DIR NAME [NAME ...]"


def trainings(seed: int) -> Path:
    """The folder of a seed's trainings."""
    return TRAININGS.parent / f"seed{seed}"


def words(recipe: str, seed: int) -> list[str]:
    """The words that train a recipe from a seed, on top of trainings from that seed."""
    own = {"seed": seed, **_moved({"options": recipes.load(recipe).options}, seed)}
    return [f"recipe={recipe}", f"out={trainings(seed) / recipe}",
            *(f"{key}={json.dumps(value)}" for key, value in own.items())]  # fmt: skip


def _moved(given: dict[str, Any], seed: int, key: str = "") -> dict[str, Any]:
    """Every path into the trainings, by its key, as one into the seed's."""
    found = dict[str, Any]()
    for name, value in given.items():
        place = f"{key}.{name}" if key else name
        if isinstance(value, dict):
            found |= _moved(value, seed, place)
        elif isinstance(value, str) and value.startswith(f"{TRAININGS}/"):
            found[place] = f"{trainings(seed)}/{value.removeprefix(f'{TRAININGS}/')}"
    return found


def keep(name: str, seed: int, root: Path) -> Path:
    """Copy a student's weights to `root`/<name>.seed<n>. Raises UsageError for no such training."""
    recipe, part = training(name)
    return put(finished(recipe, part, trainings(seed)), root / f"{name}.seed{seed}")


def make(seed: int, root: Path, names: Sequence[str]) -> int:
    """Train and keep; 0, or the exit code of the first training that failed."""
    for name in names:
        if name not in STUDENTS:
            raise UsageError(f"no shipped student {name!r}; {nearest(name, STUDENTS)}")
    for name in names:
        for recipe in chain(name):
            if code := command.main(words(recipe, seed)):
                return code
        print(keep(name, seed, root), flush=True)
    return 0


def chain(name: str) -> list[str]:
    """The recipes of a student's trainings, in their order; no evaluator's, nor the base's."""
    trained = [recipe for kind, recipe in order([name]) if kind == "train"]
    return [one for one in trained if not recipes.load(one).method.startswith("shapes_")]


def main(given: list[str]) -> int:
    """Train and keep; 0 when done, 2 for what the user must change."""
    if len(given) < 3 or not given[0].isdecimal():
        print(USAGE, file=sys.stderr)
        return 2
    return exit_code(lambda: make(int(given[0]), Path(given[1]), given[2:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
