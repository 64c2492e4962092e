"""Changes of a suite given in Python, as keywords and mappings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.errors import UsageError, brief, nearest
from bench.suite import suite
from bench.suite.compose import PATHS, by_name, mapping, text_keys
from bench.suite.contestant import ANCHORS, SOURCES
from hypersd.plain_values import plain

NEW = (*SOURCES, "at", "like", "base", "method")  # one of them says what a new contestant is


def split(changes: Mapping[str, Any], keys: Iterable[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """The paths among the changes, as text, and the others as plain data; a path that is None is
    as if it were not given.

    keys: those that are valid beside a suite's and PATHS.  Raises UsageError.
    """
    known = (*PATHS, *keys, *suite.KEYS)
    paths, rest = {}, {}
    for key, value in changes.items():
        first = key.split(".")[0]
        if first not in known:
            raise UsageError(f"unknown key {first!r}; {nearest(first, known)}")
        if first not in PATHS:
            rest[key] = plain(value, key)
        elif key != first or not isinstance(found := plain(value, key), str | None) or found == "":
            raise UsageError(f"{key}={value!r}: expected a path")
        elif found is not None:
            paths[key] = found
    return paths, rest


def changed(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a suite with changes over them, as `compose` gives them from a command line:
    mappings are merged key by key, anything else takes the place of what is there.

    changes: plain data; a key may point into a mapping with dots ("prompts.n").  A contestant that
    is None is taken away.  Raises UsageError.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    chosen, given = mapping(suite.locate(name)), _nested(text_keys(dict(changes)))
    if isinstance(given.get("metrics"), dict):
        chosen["metrics"] = by_name(chosen.get("metrics"))
    merged = _merged(chosen, given)
    if isinstance(contestants := given.get("contestants"), dict):
        _check_contestants(contestants, chosen.get("contestants"))
        for gone in [key for key, value in contestants.items() if value is None]:
            del merged["contestants"][gone]
    try:
        values = OmegaConf.to_container(OmegaConf.create(merged), resolve=True)
    except (OmegaConfBaseException, ValueError, RecursionError) as error:
        raise UsageError(f"suite={name}: {brief(error)}") from None
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with `{"prompts.n": 9}` as `{"prompts": {"n": 9}}`."""
    found: dict[str, Any] = {}
    for path, value in changes.items():
        for part in reversed(path.split(".")):
            value = {part: value}
        found = _merged(found, value)
    return found


def _merged(below: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**below, **given}
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            merged[key] = _merged(below[key], value)
    return merged


def _check_contestants(given: Mapping[str, Any], held: Any) -> None:
    """Refuse a contestant that the suite does not have, unless it says what is drawn: a misspelt
    name would be one more contestant, drawn by the base."""
    known = held if isinstance(held, dict) else {}
    for name, values in given.items():
        says = values.keys() if isinstance(values, dict) else ()
        if name not in known and not (values is not None and (name in ANCHORS or {*NEW} & {*says})):
            raise UsageError(f"no contestant {name!r}; {nearest(name, known)} "
                             f"(a new one has one of {', '.join(SOURCES)})")  # fmt: skip
