"""The smallest difference that matters, per metric, and how much slower or larger is too much.

A margin or limit is a number in the metric's own unit, or a share of the value that is compared
with, as "5%". A suite sets its own under `margins` and `limits`; these are the defaults. They were
chosen for the world's metrics and a thousand prompts or fewer: `clip` spreads over 40 points
between pictures, and a distance to the teacher is small, so its error is a large share of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bench import fields
from bench.errors import UsageError

Margin = float | str  # a number, or a percentage as "5%"

MARGINS: dict[str, Margin] = {
    "fid": "10%",
    "fid_teacher": "20%",
    "fid_inf": "10%",
    "clip": 1.0,
    "aesthetic": 0.05,
    "hps": 0.5,
    "faithful": 0.02,
}
OTHER = "2%"  # of a metric that is not named above
LIMITS: dict[str, Margin | None] = {"seconds": "50%", "memory": "25%"}
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def read(where: str, value: Any) -> Margin:
    """A margin as a suite gives it: above 0, a number or a percentage. Raises UsageError."""
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None:
        if float(match[1]) <= 0:
            raise UsageError(f"{where}={value}: must be above 0%")
        return f"{float(match[1]):g}%"
    if isinstance(value, str):
        raise UsageError(f"{where}={value}: must be a number, or a percentage as '5%'")
    found = fields.number(where, value, 0.0)
    if found == 0.0:
        raise UsageError(f"{where}=0: must be above 0; the smallest difference that matters")
    return found


def read_limit(where: str, value: Any) -> Margin | None:
    """A limit of `limits`: a percentage, or null for none. Raises UsageError."""
    if value is None:
        return None
    found = read(where, value)
    if not isinstance(found, str):
        raise UsageError(f"{where}={value}: must be a percentage as '50%', or null for no limit")
    return found


def of(metric: str, margins: Mapping[str, Margin] | None = None) -> Margin:
    """The margin of a metric: the suite's, else the default."""
    return (margins or {}).get(metric, MARGINS.get(metric, OTHER))


def size(margin: Margin, value: float) -> float:
    """A margin in the metric's unit, where `value` is what is compared with."""
    if isinstance(margin, str):
        return abs(value) * float(margin.rstrip("%")) / 100
    return margin
