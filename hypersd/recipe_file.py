"""`recipe.yaml` in a training's folder: the whole recipe, to read, repeat and compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hypersd import recipe as recipes
from hypersd.errors import UsageError, listed
from hypersd.recipe import NOT_IN_IDENTITY, Recipe
from hypersd.whole_files import written_whole

NAME = "recipe.yaml"
LONGEST = 40  # characters of a value that a message shows


def write(out: Path, recipe: Recipe) -> None:
    """The whole recipe, as it is trained in `out`: `recipe=<out>/recipe.yaml` trains it again."""
    from omegaconf import OmegaConf

    text = OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(recipe)))
    with written_whole(out / NAME) as beside:
        beside.write_text(text, encoding="utf-8")


def another(out: Path, recipe: Recipe) -> UsageError:
    """The error for a folder that holds the training of another recipe, with the differences if
    they are known."""
    try:
        there = recipes.load(out / NAME)
    except UsageError:  # older than the file, or damaged
        return UsageError(f"{out} holds another recipe's training; choose another out=")
    found = [f"{key}={_shown(old)} there, {_shown(new)} here"
             for key, old, new in _differences(there, recipe)]  # fmt: skip
    return UsageError(f"{out} holds another training ({listed(found)}); choose another out=")


def _differences(there: Recipe, here: Recipe) -> Iterator[tuple[str, Any, Any]]:
    for field in dataclasses.fields(Recipe):
        if field.name not in NOT_IN_IDENTITY:
            yield from _of(field.name, getattr(there, field.name), getattr(here, field.name))


def _of(key: str, there: Any, here: Any) -> Iterator[tuple[str, Any, Any]]:
    """The places below a key at which two values differ, each with both."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for inner in dict.fromkeys([*there, *here]):
            yield from _of(f"{key}.{inner}", there.get(inner), here.get(inner))
    elif there != here:
        yield key, there, here


def _shown(value: Any) -> str:
    words = "none" if value is None else str(value)
    return words if len(words) <= LONGEST else words[: LONGEST - 3] + "..."
