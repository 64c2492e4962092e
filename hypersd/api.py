"""Training in Python: `hypersd.train` (docs/python.md)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypersd import recipe as recipes
from hypersd.errors import UsageError, in_a_line
from hypersd.plain_values import plain

Name = str | os.PathLike[str]


def train(
    recipe: Name,
    out: Name | None = None,
    *,
    device: str = "cpu",
    resume: str = "auto",
    **changes: Any,
) -> Path:
    """Train a recipe, as `python -m hypersd recipe=... key=value` does; the folder of the weights
    with their model card, `out/final`.

    recipe: a name, or the path of a YAML file.  out: default runs/train/<recipe>; a training that
    was stopped goes on there, one that is done returns at once.  changes: keys of the recipe, as
    `steps=200`, `options={"guidance": 2.0}`: mappings are merged into the recipe's, but for `data`.
    Raises UsageError for what is not valid or cannot be read, a loss that is not finite, and where
    `out` holds another training.
    """
    name = os.fspath(recipe)
    found = recipes.load(name, {key: plain(value, key) for key, value in changes.items()})
    folder = Path(out) if out is not None else Path("runs/train") / Path(name).stem
    from hypersd.loop import train as trained

    try:
        return trained(found, folder, device=device, resume=resume)
    except OSError as error:
        raise UsageError(in_a_line(error)) from error
