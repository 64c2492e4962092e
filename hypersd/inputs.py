"""Hashes of the files that a recipe names by path.

A recipe's identity hashes its text only, so a changed file under the same name would go unnoticed.
Files of the hub are left out: the lock file pins them. Needs no torch, so that a plan can ask
before anything is trained.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from hypersd import sources
from hypersd.errors import UsageError
from hypersd.exports import CARD, FACTS
from hypersd.hashes import Hashes
from hypersd.lora.strength import CONFIG_NAME
from hypersd.recipe import Recipe
from hypersd.reference import SCHEME

SHIPPED = "hypersd.shapes.weights:weights_path"  # the folder of shipped weights, by their name
KEYS = ("init", "onto", "text", "vae", "vocabulary")
"""What recipes call files and folders of weights by, wherever it stands in `data` and `options`."""
OR_SHIPPED = ("clip", "folder", "segmenter")
"""The same where it may be the name of shipped weights."""


def read(recipe: Recipe, hashes: Hashes) -> dict[str, str]:
    """Hashes of what a recipe's `data` and `options` name, by its key there ("options.init").

    Missing files are left out: their loader reports them.  Raises UsageError for a file that cannot
    be read.
    """
    data: Mapping[str, Any] = recipe.data
    found = {}
    if data.keys() & sources.SOURCES:
        stamp = sources.stamp(sources.read_data(data), hashes)
        found, data = {"data": stamp} if stamp else {}, {}
    for place, path in _named({"data": data, "options": recipe.options}):
        if path.exists():
            found[place] = _content(path, hashes)
    return found


def of(recipe: Recipe, *, base: bool) -> dict[str, str]:
    """The same, kept in the cache of hashes, with the recipe's base where it is read."""
    hashes = _shared()
    found = {**(_base(recipe, hashes) if base else {}), **read(recipe, hashes)}
    hashes.remember()
    return found


def check(out: Path, recipe: Recipe, then: Mapping[str, str]) -> None:
    """Raise UsageError where a file that a training in `out` had read, `then`, has changed; missing
    files are ignored."""
    now = of(recipe, base="base" in then)
    other = next((key for key in then if now.get(key, then[key]) != then[key]), None)
    if other is not None:
        raise UsageError(f"{out}: the files of {other} have changed since this training read them; "
                         "choose another out=, or remove it")  # fmt: skip


def _shared() -> Hashes:
    """The hashes that all trainings and runs share, in `runs/cache` or the folder that
    HYPERSD_CACHE names."""
    return Hashes(Path(os.environ.get("HYPERSD_CACHE", "runs/cache")) / "hashes.json")


def _base(recipe: Recipe, hashes: Hashes) -> dict[str, str]:
    """The hash of a base on this machine; empty for one of the hub."""
    folder = _place(recipe.base, shipped="/" not in recipe.base)
    return {"base": hashes.folder(folder)} if folder and folder.is_dir() else {}


def _named(value: Any, place: str = "") -> Iterator[tuple[str, Path]]:
    """Places in a recipe, and the files and folders that are named there."""
    if isinstance(value, str):
        key = place.rpartition(".")[2]
        path = _place(value, shipped=key in OR_SHIPPED) if key in (*KEYS, *OR_SHIPPED) else None
        if path is not None:
            yield place, path
        return
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, one in value.items() if isinstance(value, Mapping) else ():
        yield from _named(one, f"{place}.{key}" if place else str(key))


def _place(name: str, *, shipped: bool) -> Path | None:
    """Where a name leads; None where it is empty, or the hub's."""
    if not name or name.startswith(SCHEME):
        return None
    if shipped:
        try:
            return Path(resolve_name(SHIPPED)(name))
        except UsageError:
            pass
    return Path(name)


def _content(path: Path, hashes: Hashes) -> str:
    config = path.with_name(CONFIG_NAME)  # of a LoRA that PEFT wrote
    if path.is_file() and config.is_file():
        return hashes.files([path, config], path.parent)
    if path.is_file():
        return hashes.file(path)
    inside = (p for p in path.rglob("*") if p.is_file() and p.name not in (FACTS, CARD))
    return hashes.files(inside, path)
