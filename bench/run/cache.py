"""The cache of all runs: whole slices of images and features, checksummed, written atomically.

An entry is one safetensors file `<kind>/<first 2 hex>/<key>.safetensors`: arrays, a JSON record
and the sha256 of both. Images are packed without loss (`bench.results.lossless`); older entries,
with pixels as they are, read alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.errors import UsageError, os_words
from bench.results.entries import Arrays, Entry, read_entry, write_entry


@dataclass
class Cache:
    """A cache folder. `damaged`: entries found broken by this run, named for the ledger."""

    root: Path
    damaged: list[str] = field(default_factory=list)

    def path(self, kind: str, key: str) -> Path:
        """The path of an entry."""
        return self.root / kind / key[:2] / f"{key}.safetensors"

    def has(self, kind: str, key: str) -> bool:
        """Whether there is an entry; only `read` checks it."""
        return self.path(kind, key).is_file()

    def read(self, kind: str, key: str) -> Entry | None:
        """The entry; None if it is absent, or damaged (it is then noted and removed)."""
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
            raise UsageError(f"cache={self.root}: {os_words(error)}") from None

    def lock(self, kind: str, key: str) -> FileLock:
        """A lock on one entry, between processes; use it as a context."""
        folder = self.root / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cache={self.root}: {os_words(error)}") from None
        return FileLock(folder / f"{kind}-{key}.lock")
