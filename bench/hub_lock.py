"""The lock file of the hub's files, `suites/hub/lock.json`: which file it was, to the byte.

Per repository (and `@revision` where a suite asks for one): the full commit, and size and sha256
of each file. All are null until the first fetch has read them; from then on another commit is not
asked for and other bytes are refused. Commit the file to pin a suite for everybody.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from hypersd.whole_files import written_whole

PATH = Path(__file__).resolve().parent.parent / "suites" / "hub" / "lock.json"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Listing:
    """What the hub says of a repository: full commit, licence or None, bytes by file."""

    commit: str
    licence: str | None
    sizes: dict[str, int]


def read() -> dict[str, Any]:
    """The whole lock; empty where there is none. Raises UsageError where it is damaged."""
    try:
        found: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{PATH}: cannot be read ({error})") from None
    return found


def commit(repo: str, revision: str | None = None) -> str | None:
    """The full commit that a repository is pinned to, or None before the first fetch."""
    found = read().get(_key(repo, revision), {}).get("commit")
    return None if found is None else str(found)


def expected(repo: str, revision: str | None, name: str) -> dict[str, Any]:
    """`size` and `sha256` of a file as recorded; None each where they are not known yet."""
    nothing = {"size": None, "sha256": None}
    files = read().get(_key(repo, revision), {}).get("files", {})
    return {**nothing, **files.get(name, {})}


def check(repo: str, revision: str | None, name: str, size: int, sha256: str | None) -> None:
    """Refuse a file that is not the one recorded. Raises UsageError.

    sha256: None compares the sizes only.
    """
    known = expected(repo, revision, name)
    for what, found in (("size", size), ("sha256", sha256)):
        if known[what] is not None and found is not None and found != known[what]:
            raise UsageError(
                f"hf://{repo}/{name}: its {what} is {found}, but {PATH} recorded {known[what]}; "
                "if the change is meant, delete the entry there"
            )


def record(
    repo: str, revision: str | None, name: str, path: Path, said: Listing | None = None
) -> None:
    """Check a file against the lock; the first time, read it and write down what it is.

    path: in the hub's cache, `.../snapshots/<commit>/<name>`.  said: what the hub says of its
    repository where it was fetched just now, so that its bytes are read; of an older file whose
    entry is full the size is enough here.  Raises UsageError.
    """
    size = path.stat().st_size
    known = expected(repo, revision, name)
    check(repo, revision, name, size, None)
    recorded = known["sha256"] is not None and known["size"] is not None
    if recorded and said is None:
        return
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    check(repo, revision, name, size, sha256)
    if not recorded:
        about = {"commit": _commit_of(path), "licence": said.licence if said else None}
        _write(_key(repo, revision), about, name, {"size": size, "sha256": sha256})


def licence(repo: str, revision: str | None = None) -> str | None:
    """The licence that the repository's card named when it was fetched, or None."""
    found = read().get(_key(repo, revision), {}).get("licence")
    return None if found is None else str(found)


def _key(repo: str, revision: str | None) -> str:
    return f"{repo}@{revision}" if revision else repo


def _commit_of(path: Path) -> str | None:
    """The commit in the path of a snapshot."""
    parts = path.parts
    place = len(parts) - 1 - parts[::-1].index("snapshots") if "snapshots" in parts else None
    return None if place is None else parts[place + 1]


def _write(key: str, about: dict[str, Any], name: str, facts: dict[str, Any]) -> None:
    from filelock import FileLock

    try:
        PATH.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(PATH.with_name(".lock.json.lock")):
            whole = read()
            entry = whole.setdefault(key, {"files": {}})
            entry |= {what: entry.get(what) or value for what, value in about.items()}
            entry["files"][name] = facts
            text = json.dumps(whole, indent=1, sort_keys=True) + "\n"
            with written_whole(PATH) as beside:
                beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{PATH}: {error.strerror or error}") from None
