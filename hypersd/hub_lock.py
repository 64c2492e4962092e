"""The lock file of the hub's files: which file it was, to the byte.

Per repository (and `@revision` where one is asked for): the full commit, and size and sha256 of
each file. All are null until the first fetch has read them; from then on another commit is not
asked for and other bytes are refused. Whoever commits the file pins what it names for everybody.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypersd.errors import UsageError
from hypersd.reference import Reference
from hypersd.whole_files import alone, written_whole


@dataclass(frozen=True)
class Listing:
    """What the hub says of a repository: full commit, licence or None, bytes by file."""

    commit: str
    licence: str | None
    sizes: dict[str, int]


@dataclass(frozen=True)
class Lock:
    """The lock in a file, which need not be there yet."""

    path: Path

    def read(self) -> dict[str, Any]:
        """All of it; empty where there is none. Raises UsageError where it is damaged."""
        try:
            found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.path}: cannot be read ({error})") from None
        return found

    def commit(self, ref: Reference) -> str | None:
        """The full commit that a repository is pinned to, or None before the first fetch."""
        found = self._entry(ref).get("commit")
        return None if found is None else str(found)

    def licence(self, ref: Reference) -> str | None:
        """The licence that the repository's card named when it was fetched, or None."""
        found = self._entry(ref).get("licence")
        return None if found is None else str(found)

    def expected(self, ref: Reference) -> dict[str, Any]:
        """`size` and `sha256` of a file as recorded; None each where they are not known yet."""
        return {"size": None, "sha256": None, **self._entry(ref).get("files", {}).get(ref.path, {})}

    def check(self, ref: Reference, size: int, sha256: str | None) -> None:
        """Refuse a file that is not the one recorded. Raises UsageError.

        sha256: None compares the sizes only.
        """
        known = self.expected(ref)
        for what, found in (("size", size), ("sha256", sha256)):
            if known[what] is not None and found is not None and found != known[what]:
                raise UsageError(
                    f"{ref}: its {what} is {found}, but {self.path} recorded {known[what]}; "
                    "if the change is meant, delete the entry there"
                )

    def record(self, ref: Reference, path: Path, said: Listing | None = None) -> None:
        """Check a file against the lock; the first time, read it and write down what it is.

        path: in the hub's cache, `.../snapshots/<commit>/<name>`.  said: what the hub says of its
        repository where it was fetched just now, so that its bytes are read; of an older file whose
        entry is full the size is enough here.  Raises UsageError.
        """
        size, known = path.stat().st_size, self.expected(ref)
        self.check(ref, size, None)
        recorded = known["sha256"] is not None and known["size"] is not None
        if recorded and said is None:
            return
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self.check(ref, size, sha256)
        if not recorded:
            about = {"commit": _commit_of(path), "licence": said.licence if said else None}
            self._write(ref, about, {"size": size, "sha256": sha256})

    def _entry(self, ref: Reference) -> dict[str, Any]:
        found: dict[str, Any] = self.read().get(_key(ref), {})
        return found

    def _write(self, ref: Reference, about: dict[str, Any], facts: dict[str, Any]) -> None:
        try:
            with alone(self.path):
                whole = self.read()
                entry = whole.setdefault(_key(ref), {"files": {}})
                entry |= {what: entry.get(what) or value for what, value in about.items()}
                entry["files"][ref.path] = facts
                text = json.dumps(whole, indent=1, sort_keys=True) + "\n"
                with written_whole(self.path) as beside:
                    beside.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror or error}") from None


def _key(ref: Reference) -> str:
    return f"{ref.repo}@{ref.revision}" if ref.revision else ref.repo


def _commit_of(path: Path) -> str | None:
    """The commit in the path of a snapshot."""
    parts = path.parts
    place = len(parts) - 1 - parts[::-1].index("snapshots") if "snapshots" in parts else None
    return None if place is None else parts[place + 1]
