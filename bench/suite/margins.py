"""Margins and limits as a suite gives them."""

from __future__ import annotations

import re
from typing import Any

from bench.errors import UsageError
from bench.statistics.margins import Margin
from bench.suite import fields

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
