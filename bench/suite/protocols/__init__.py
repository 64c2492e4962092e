"""Published protocols by name: what a suite's `preset` stands for.

A preset is a YAML file beside this one: prompts, seeds and metrics with their settings, as a paper
or benchmark says they were. A suite with `preset: NAME` has them unless it says otherwise itself,
and a list of metrics there picks from the preset's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import UsageError, nearest
from hypersd import validation
from hypersd.validation import Text

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Protocol:
    """A preset's file. source, open: where it is from, and what its authors do not say."""

    source: Text
    open: Text
    metrics: dict[str, dict[str, Any] | None]
    prompts: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None


def names() -> list[str]:
    """The shipped presets."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def read(name: str) -> Protocol:
    """A preset's file. Raises UsageError for an unknown name."""
    import yaml

    if name not in names():
        raise UsageError(f"preset={name}: no such protocol; {nearest(name, names())}")
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return validation.read(Protocol, yaml.safe_load(text), where=f"preset {name}")


def applied(values: Mapping[str, Any]) -> dict[str, Any]:
    """A suite's mapping with what its `preset` says where it says nothing itself.

    prompts: key by key.  metrics: a list picks from the preset's (others have their usual
    settings), a mapping changes settings one by one.  Without a preset nothing changes.
    Raises UsageError for an unknown preset.
    """
    given, name = dict(values), values.get("preset")
    if name is None:
        return given
    if not isinstance(name, str):
        raise UsageError(f"preset={name}: must be a text")
    preset = read(name)
    given["prompts"] = _over(preset.prompts, given.get("prompts"))
    if given.get("seeds") is None and preset.seeds is not None:
        given["seeds"] = list(preset.seeds)
    asked = given.get("metrics") or preset.metrics
    if not isinstance(asked, Mapping):
        asked = {str(one): {} for one in (asked if isinstance(asked, list) else [asked])}
    given["metrics"] = {one: _over(preset.metrics.get(one), own) for one, own in asked.items()}
    return given


def _over(usual: Mapping[str, Any] | None, own: Any) -> Any:
    """A suite's own values over the usual ones; unchanged if they are no mapping."""
    own = {} if own is None else own
    return {**(usual or {}), **own} if isinstance(own, Mapping) else own
