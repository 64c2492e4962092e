"""The lock file: commit, size and sha256 of each file taken from the hub.

Per repository (and `@revision` where one is asked for): the full commit, and size and sha256 of
each file. All are null until the first fetch has read them; from then on no other commit is asked
for, and other bytes are refused. A shipped lock is never written: what it leaves open is recorded
in a lock of the machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypersd.errors import UsageError, os_words
from hypersd.file_kinds import JSON, fault
from hypersd.reference import Reference
from hypersd.whole_files import alone, written_whole


@dataclass(frozen=True)
class Listing:
    """A repository as the hub describes it: full commit, licence or None, bytes by file."""

    commit: str
    licence: str | None
    sizes: dict[str, int]


@dataclass(frozen=True)
class Lock:
    """The lock in a file, which may be missing.

    shipped: a second, read-only lock, which goes before what this machine recorded.
    """

    path: Path
    shipped: Path | None = None

    def read(self) -> dict[str, Any]:
        """All of it; empty where there is none. Raises UsageError where it is damaged."""
        found = _read(self.path)
        for name, pinned in _read(self.shipped).items() if self.shipped else ():
            found[name] = _pinned(pinned, found.get(name, {}))
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
        """Refuse a file that is not the recorded one.

        Raises UsageError. sha256: None compares the sizes only.
        """
        known = self.expected(ref)
        for what, found in (("size", size), ("sha256", sha256)):
            if known[what] is not None and found is not None and found != known[what]:
                raise UsageError(
                    f"{ref}: its {what} is {found}, but {self.path} recorded {known[what]}; "
                    "if the change is meant, delete the entry there"
                )

    def record(self, ref: Reference, path: Path, sha256: str, licence: str | None) -> None:
        """Check a file against the lock; the first time, write down what it is.

        path: in the hub's cache, `.../snapshots/<commit>/<name>`.  licence: as the repository's
        card says, where it was asked just now.  Raises UsageError.
        """
        size, known = path.stat().st_size, self.expected(ref)
        self.check(ref, size, sha256)
        if known["sha256"] is None or known["size"] is None:
            about = {"commit": _commit_of(path), "licence": licence}
            self._write(ref, about, {"size": size, "sha256": sha256})

    def _entry(self, ref: Reference) -> dict[str, Any]:
        found: dict[str, Any] = self.read().get(_key(ref), {})
        return found

    def _write(self, ref: Reference, about: dict[str, Any], facts: dict[str, Any]) -> None:
        try:
            with alone(self.path):
                whole = _read(self.path)
                entry = whole.setdefault(_key(ref), {"files": {}})
                entry |= {what: entry.get(what) or value for what, value in about.items()}
                entry["files"][ref.path] = facts
                text = json.dumps(whole, indent=1, sort_keys=True) + "\n"
                with written_whole(self.path) as beside:
                    beside.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{self.path}: {os_words(error)}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path}: {os_words(error)}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path}: cannot be read: {fault(path, JSON)}") from None
    if not isinstance(found, dict) or not all(map(_is_entry, found.values())):
        raise UsageError(f"{path}: is not a lock file of the hub; restore it, or delete it")
    return found


def _is_entry(held: Any) -> bool:
    return isinstance(held, dict) and isinstance(held.get("files"), dict)


def _pinned(shipped: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A repository's entry: the shipped one, and what this machine recorded of the same commit."""
    if shipped.get("commit") not in (None, own.get("commit")):
        own = {}
    files = own.get("files", {}) | {
        name: facts for name, facts in shipped["files"].items() if facts["sha256"] is not None
    }
    return {**own, **{k: v for k, v in shipped.items() if v is not None}, "files": files}


def _key(ref: Reference) -> str:
    return f"{ref.repo}@{ref.revision}" if ref.revision else ref.repo


def _commit_of(path: Path) -> str | None:
    """The commit in the path of a snapshot."""
    parts = path.parts
    place = len(parts) - 1 - parts[::-1].index("snapshots") if "snapshots" in parts else None
    return None if place is None else parts[place + 1]
