"""sha256 of files, each read once for as long as it does not change."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from bench.errors import UsageError
from bench.results.keys import digest
from hypersd.whole_files import written_whole


class Hashes:
    """sha256 of files, remembered in one file by path, size and times of change (of the content,
    which a copy can carry over from another file, and of the file itself, which it cannot)."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._new = False
        self._known: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            held = json.loads(memory.read_text())
            if held["digest"] == digest(held["files"]):
                self._known = held["files"]

    def file(self, path: Path) -> str:
        """The sha256 of a file's bytes. Raises UsageError where it cannot be read."""
        try:
            status = path.stat()
            name = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"
            if name not in self._known:
                with path.open("rb") as file:
                    self._known[name] = hashlib.file_digest(file, "sha256").hexdigest()
                self._new = True
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from None
        return self._known[name]

    def files(self, paths: Iterable[Path], root: Path) -> str:
        """One hash of several files' names (below root) and contents."""
        return digest({str(path.relative_to(root)): self.file(path) for path in sorted(paths)})

    def remember(self) -> None:
        """Write what was learned, for the next run; a cache that cannot be written is no error."""
        if not self._new:
            return
        with contextlib.suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            held = {"digest": digest(self._known), "files": self._known}
            with written_whole(self._memory) as beside:
                beside.write_text(json.dumps(held, indent=0))
