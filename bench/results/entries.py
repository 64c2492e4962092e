"""One safetensors file of arrays, a JSON record and the sha256 of both, written whole.

Pictures that `bench.results.lossless` packed are read as their pixels.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.lossless import unpacked
from hypersd.errors import os_words
from hypersd.file_kinds import SAFETENSORS, mistaken
from hypersd.whole_files import written_whole

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Entry:
    """Arrays by name, and a record of how they were made."""

    arrays: Arrays
    record: dict[str, Any]


def write_entry(path: Path, entry: Entry) -> None:
    """Write an entry, whole or not at all. Raises OSError where it cannot be written."""
    from safetensors.numpy import save

    text = json.dumps(entry.record, sort_keys=True)
    about = {"record": text, "sha256": _checksum(entry.arrays, text)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as beside:
        beside.write_bytes(save(entry.arrays, metadata=about))


def read_entry(path: Path) -> Entry:
    """An entry, checked. Raises FileNotFoundError, or ValueError where it is damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        record = json.loads(about["record"])
    except OSError as error:
        raise ValueError(f"not readable ({os_words(error)})") from None
    except (SafetensorError, KeyError, ValueError, RecursionError, TypeError):
        said = mistaken(path, SAFETENSORS)
        raise ValueError(said or "not readable, cut off or no entry") from None
    if _checksum(arrays, about["record"]) != about.get("sha256"):
        raise ValueError("its checksum is wrong")
    return Entry(unpacked(arrays), record)


def _checksum(arrays: Arrays, record: str) -> str:
    hash_ = hashlib.sha256(record.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hash_.update(f"{name} {array.dtype} {array.shape}".encode())
        hash_.update(array.data)
    return hash_.hexdigest()
