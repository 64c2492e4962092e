"""sha256 of files, remembered between runs and by all processes that share a cache.

A remembered hash is used only while nothing that the file system records has changed: size, inode,
device, the time of the last change of the content (which a copy can carry over from another file)
and of the file itself (which it cannot).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypersd.errors import UsageError, os_words
from hypersd.whole_files import alone, written_whole

TRIES = 3
SETTLED = 2_000_000_000  # ns: what changes twice within a tick of the clock has equal times
KINDS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""What models are loaded from: weights, configurations, vocabularies and templates of chats."""


def digest(value: Any) -> str:
    """A hash of anything that JSON can hold: 32 hex digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Hashes:
    """memory: the file that keeps them; None: they are kept by this object alone."""

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known = {} if memory is None else _remembered(memory)
        self._learned: dict[str, str] = {}

    def file(self, path: Path) -> str:
        """The sha256 of a file's bytes.

        Raises UsageError where it cannot be read, or is written to while it is.
        """
        try:
            for _ in range(TRIES):
                began, before = time.time_ns(), path.stat()
                name = _state(path, before)
                if name in self._known:
                    return self._known[name]
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                if _state(path, path.stat()) == name:
                    if began - before.st_ctime_ns > SETTLED:
                        self._known[name] = self._learned[name] = found
                    return found
        except OSError as error:
            raise UsageError(f"{path}: {os_words(error)}") from None
        raise UsageError(f"{path}: is being written to; start again when it is whole")

    def files(self, paths: Iterable[Path], root: Path) -> str:
        """One hash of several files' names (below root) and contents."""
        return digest({str(path.relative_to(root)): self.file(path) for path in sorted(paths)})

    def folder(self, root: Path) -> str:
        """One hash of a model's folder, whatever its place. Raises UsageError where it has none."""
        return self.files(model_files(root), root)

    def apart(self, name: str) -> Hashes:
        """Hashes with a memory file of their own beside this one: for a data set of many files."""
        memory = self._memory
        if memory is None:
            return Hashes()
        return Hashes(memory.with_name(f"{memory.stem}-{digest(name)[:12]}{memory.suffix}"))

    def remember(self) -> None:
        """Add new hashes to the memory; failing to write it is no error."""
        if self._memory is None or not self._learned:
            return
        with contextlib.suppress(OSError), alone(self._memory):
            files = {**_remembered(self._memory), **self._learned}
            with written_whole(self._memory) as beside:
                beside.write_text(
                    json.dumps({"digest": digest(files), "states": files}, indent=0),
                    encoding="utf-8",
                )
            self._learned = {}


def states(root: Path) -> tuple[str, ...]:
    """What the file system records of a model's files: equal where none of them has changed."""
    return tuple(state(path) for path in sorted(model_files(root)))


def state(path: Path) -> str:
    """A file's path, and what the file system records of it: equal where it has not changed."""
    return _state(path, path.stat())


def model_files(root: Path) -> list[Path]:
    """The files that a model is loaded from, in its folder and below. Raises UsageError if there
    are none."""
    paths = [path for kind in KINDS for path in root.rglob(kind) if path.is_file()]
    if not paths:
        raise UsageError(f"{root}: holds no model")
    return paths


def _remembered(memory: Path) -> dict[str, str]:
    """Hashes by state, as far as the memory can be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        held = json.loads(memory.read_text(encoding="utf-8"))
        files: dict[str, str] = held["states"]
        if held["digest"] == digest(files):
            return files
    return {}


def _state(path: Path, of: os.stat_result) -> str:
    place = os.path.abspath(path)
    return f"{place}|{of.st_dev}|{of.st_ino}|{of.st_size}|{of.st_mtime_ns}|{of.st_ctime_ns}"
