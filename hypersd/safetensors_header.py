"""The header of a safetensors file, read without torch and without its tensors."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

from hypersd.errors import FileError
from hypersd.file_kinds import SAFETENSORS, fault

DAMAGED = "is damaged or cut off"


class Header(NamedTuple):
    """The names of a file's tensors, in its order, its metadata, and how many numbers it holds."""

    keys: tuple[str, ...]
    metadata: dict[str, Any]
    numbers: int


def header(path: Path) -> Header:
    """The header of a whole file. Raises FileError for one that is cut off or of another kind, and
    OSError."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            size = path.stat().st_size
            held = json.loads(file.read(length)) if length <= size else {}
        metadata = held.pop("__metadata__", {}) or {}
        ends = [value["data_offsets"][1] for value in held.values()]
        whole = 8 + length + max(ends)
        numbers = sum(math.prod(value["shape"]) for value in held.values())
        intact = isinstance(metadata, dict)
    except (struct.error, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise FileError(fault(path, SAFETENSORS, DAMAGED))
    if size != whole:
        raise FileError(f"damaged: has {size:,} bytes of the {whole:,} that its header tells of; "
                        "valid: the whole file, fetched again")  # fmt: skip
    return Header(tuple(held), metadata, numbers)
