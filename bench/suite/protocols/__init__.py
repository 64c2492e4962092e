"""Published protocols by name: what a suite's `preset` stands for.

A preset is a YAML file beside this one: prompts, seeds and metrics with their settings, as a paper
or benchmark says they were. A suite with `preset: NAME` has them unless it says otherwise itself,
and a list of metrics there picks from the preset's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import UsageError, nearest
from bench.suite import fields

FOLDER = Path(__file__).resolve().parent
ABOUT = ("source", "open")  # for people: where it is from, and what its authors do not say
KEYS = (*ABOUT, "prompts", "seeds", "metrics")


def names() -> list[str]:
    """The shipped presets."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def read(name: str) -> Mapping[str, Any]:
    """A preset's file. Raises UsageError for an unknown name."""
    import yaml

    if name not in names():
        raise UsageError(f"preset={name}: no such protocol; {nearest(name, names())}")
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return fields.mapping(f"preset {name}", yaml.safe_load(text), KEYS)


def applied(values: Mapping[str, Any]) -> dict[str, Any]:
    """A suite's mapping with what its `preset` says where it says nothing itself.

    prompts: key by key.  metrics: a list picks from the preset's (others have their usual
    settings), a mapping changes settings one by one.  Without a preset nothing changes.
    Raises UsageError for an unknown preset.
    """
    given = {str(key): value for key, value in values.items()}
    if given.get("preset") is None:
        return given
    preset = read(fields.text("preset", given["preset"]))
    prompts = fields.mapping("prompts", given.get("prompts") or {})
    given["prompts"] = {**preset.get("prompts", {}), **prompts}
    if given.get("seeds") is None and "seeds" in preset:
        given["seeds"] = preset["seeds"]
    given["metrics"] = _metrics(preset["metrics"], given.get("metrics"))
    return given


def _metrics(preset: Mapping[str, Any], asked: Any) -> dict[str, Any]:
    if asked is None:
        return {name: dict(settings or {}) for name, settings in preset.items()}
    if not isinstance(asked, Mapping):
        asked = dict.fromkeys(asked if isinstance(asked, list) else [asked])
    return {str(name): {**(preset.get(name) or {}), **(own or {})} for name, own in asked.items()}
