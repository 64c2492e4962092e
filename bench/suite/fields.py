"""One value of a configuration, as the type it must have.

Every function takes `where` (the key as the user would write it) and raises UsageError with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from bench.errors import UsageError, nearest


def integer(where: str, value: Any, low: int, high: int | None = None) -> int:
    """An int within [low, high]."""
    inside = isinstance(value, int) and value >= low and (high is None or value <= high)
    if isinstance(value, bool) or not inside:
        span = f"a whole number from {low} to {high}" if high else f"a whole number >= {low}"
        raise UsageError(f"{where}={_shown(value)}: must be {span}")
    return int(value)


def integers(where: str, value: Any, low: int, high: int | None = None) -> tuple[int, ...]:
    """Distinct ints within [low, high], at least one; a single int stands for a list of it."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UsageError(f"{where}=[]: must hold at least one whole number")
    found = tuple(integer(where, item, low, high) for item in values)
    if len(set(found)) < len(found):
        raise UsageError(f"{where}={_shown(value)}: holds a value twice")
    return found


def number(where: str, value: Any, low: float, high: float = math.inf) -> float:
    """A finite float within [low, high]."""
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or not low <= value <= high:
        span = f"a number from {low:g} to {high:g}" if high < math.inf else f"a number >= {low:g}"
        raise UsageError(f"{where}={_shown(value)}: must be {span}")
    return float(value)


def text(where: str, value: Any) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where}={_shown(value)}: must be a text")
    return value


def line(where: str, value: Any) -> str:
    """A text in one line, without characters that steer a terminal."""
    found = text(where, value)
    if not found.isprintable():
        raise UsageError(f"{where}={found[:60]!r}: must be one line of printable characters")
    return found


def flag(where: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise UsageError(f"{where}={_shown(value)}: must be true or false")
    return value


def choice(where: str, value: Any, valid: Iterable[str]) -> str:
    """One of the valid words."""
    options = list(valid)
    if value not in options:
        raise UsageError(f"{where}={_shown(value)}: {nearest(str(value), options)}")
    return str(value)


def choices(where: str, value: Any, valid: Iterable[str]) -> tuple[str, ...]:
    """Distinct valid words, at least one."""
    options = list(valid)
    if not isinstance(value, list) or not value:
        raise UsageError(f"{where}={_shown(value)}: must be a list of {', '.join(options)}")
    found = tuple(choice(where, item, options) for item in value)
    if len(set(found)) < len(found):
        raise UsageError(f"{where}={_shown(value)}: holds a name twice")
    return found


def mapping(where: str, value: Any, valid: Iterable[str] | None = None) -> dict[str, Any]:
    """A mapping with text keys, all of them valid ones where these are given."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}={_shown(value)}: must be a mapping of keys to values")
    found = {str(key): item for key, item in value.items()}
    options = None if valid is None else list(valid)
    for key in found:
        if options is not None and key not in options:
            place = f" in {where}" if where else ""
            raise UsageError(f"unknown key {key!r}{place}; {nearest(key, options)}")
    return found


def _shown(value: Any) -> str:
    words = " ".join(str(value).split()) if value is not None else "null"
    return words if len(words) <= 60 else words[:57] + "..."
