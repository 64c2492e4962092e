"""The lock file of the hub's files, `suites/hub/lock.json`: which file it was, to the byte.

Per repository (and `@revision` where a suite asks for one): the full commit, and size and sha256
of each file. All are null until the first fetch has read them; from then on another commit is not
asked for and other bytes are refused. Commit the file to pin a suite for everybody.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from bench.errors import UsageError

PATH = Path(__file__).resolve().parent.parent / "suites" / "hub" / "lock.json"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


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


def record(repo: str, revision: str | None, name: str, path: Path, *, fresh: bool) -> None:
    """Check a file against the lock; the first time, read it and write down what it is.

    path: in the hub's cache, `.../snapshots/<commit>/<name>`.  fresh: it was downloaded just now,
    so that its bytes are read; otherwise its size is enough here.  Raises UsageError.
    """
    size = path.stat().st_size
    known = expected(repo, revision, name)
    check(repo, revision, name, size, None)
    recorded = known["sha256"] is not None and known["size"] is not None
    if recorded and not fresh:
        return
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    check(repo, revision, name, size, sha256)
    if recorded:
        return
    _write(repo, revision, name, {"size": size, "sha256": sha256}, _commit_of(path))


def _key(repo: str, revision: str | None) -> str:
    return f"{repo}@{revision}" if revision else repo


def _commit_of(path: Path) -> str | None:
    """The commit in the path of a snapshot."""
    parts = path.parts
    place = len(parts) - 1 - parts[::-1].index("snapshots") if "snapshots" in parts else None
    return None if place is None else parts[place + 1]


def _write(
    repo: str, revision: str | None, name: str, facts: dict[str, Any], commit: str | None
) -> None:
    from filelock import FileLock

    try:
        PATH.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(PATH.with_name(".lock.json.lock")):
            whole = read()
            entry = whole.setdefault(_key(repo, revision), {"commit": None, "files": {}})
            entry["commit"] = entry.get("commit") or commit
            entry["files"][name] = facts
            beside = PATH.with_name(".lock.json.writing")
            beside.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            beside.replace(PATH)
    except OSError as error:
        raise UsageError(f"{PATH}: {error.strerror or error}") from None
