"""Python values -> plain data, as a YAML file or a command line would give."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hypersd.errors import UsageError


def plain(value: Any, where: str) -> Any:
    """The value as text, number, bool, None, list or mapping with texts for keys; a path as text,
    a tuple or range as a list, a number of numpy as Python's.

    where: its key.  Raises UsageError for anything else.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one, f"{where}.{key}") for key, one in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(one, where) for one in value]
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return plain(value.item(), where)
    kind = type(value).__name__
    raise UsageError(f"{where}: is a {kind}; valid: text, number, bool, path, list or mapping")
