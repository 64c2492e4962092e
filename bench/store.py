"""The cache that runs share: whole slices of images and features, checksummed, written atomically.

An entry is one safetensors file `<kind>/<first 2 hex>/<key>.safetensors`: arrays, a JSON record
and the sha256 of both. Images are kept as they were made (uint8, no codec): a slice of 100 at 64 px
is 1.2 MB and is written and checked in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from bench.errors import UsageError

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Entry:
    """What a slice holds: arrays by name, and a record of how they were made."""

    arrays: Arrays
    record: dict[str, Any]


@dataclass
class Store:
    """A cache folder. `damaged`: entries found broken by this run, named for the ledger."""

    root: Path
    damaged: list[str] = field(default_factory=list)

    def path(self, kind: str, key: str) -> Path:
        """Where an entry lies, or would."""
        return self.root / kind / key[:2] / f"{key}.safetensors"

    def has(self, kind: str, key: str) -> bool:
        """Whether there is an entry; only `read` can say whether it is sound."""
        return self.path(kind, key).is_file()

    def read(self, kind: str, key: str) -> Entry | None:
        """The entry, or None where there is none or a damaged one, which is noted and removed."""
        path = self.path(kind, key)
        try:
            return read_entry(path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            self.damaged.append(f"{kind}/{path.name}: {error}; made again")
            path.unlink(missing_ok=True)
            return None

    def write(self, kind: str, key: str, arrays: Arrays, record: Mapping[str, Any]) -> None:
        """Put an entry in its place, whole or not at all. Raises UsageError where it cannot be."""
        try:
            write_entry(self.path(kind, key), Entry(arrays, dict(record)))
        except OSError as error:
            raise UsageError(f"cache={self.root}: {error.strerror or error}") from None

    def lock(self, kind: str, key: str) -> FileLock:
        """A lock on one entry, between processes; use it as a context."""
        folder = self.root / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cache={self.root}: {error.strerror or error}") from None
        return FileLock(folder / f"{kind}-{key}.lock")


def write_entry(path: Path, entry: Entry) -> None:
    """Write an entry beside its place, sync, rename. Raises OSError where it cannot be written."""
    from safetensors.numpy import save

    text = json.dumps(entry.record, sort_keys=True)
    about = {"record": text, "sha256": _checksum(entry.arrays, text)}
    beside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.writing"):  # by one that was killed
        left.unlink(missing_ok=True)
    try:
        with beside.open("wb") as file:
            file.write(save(entry.arrays, metadata=about))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


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
    except (SafetensorError, KeyError, OSError, ValueError) as error:
        raise ValueError(f"not readable ({str(error).splitlines()[0]})") from None
    if _checksum(arrays, about["record"]) != about.get("sha256"):
        raise ValueError("its checksum is wrong")
    return Entry(arrays, record)


def _checksum(arrays: Arrays, record: str) -> str:
    hash_ = hashlib.sha256(record.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hash_.update(f"{name} {array.dtype} {array.shape}".encode())
        hash_.update(array.data)
    return hash_.hexdigest()
