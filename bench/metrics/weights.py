"""Finds an evaluator's weights: on this machine, on the hub, or at a pinned address.

A source is written as one of

    /a/file or a/folder                       on this machine
    hf://owner/name[@revision]/file           a file on the hub, pinned by the lock file
    https://.../name#sha256=HEX               an address, HEX the file's hash or its first digits
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from bench.errors import UsageError
from bench.results.hub import HUB
from hypersd import hub_client
from hypersd.hub_client import NotFetched, Unreachable
from hypersd.reference import SCHEME, Reference, reference

_URL = re.compile(r"(?P<url>https?://[^#]+/(?P<file>[^#/]+))#sha256=(?P<digits>[0-9a-f]{8,64})")


class NotHere(NotFetched):
    """Files that a run fetches first: the sources of each, best first."""

    def __init__(self, what: str, *files: Sequence[str]) -> None:
        super().__init__(f"{what}: needs {', '.join(one[0].split('#')[0] for one in files)}")
        self.what, self.files = what, files

    def fetch(self) -> None:
        """Fetch them. Raises UsageError where one cannot be had."""
        for sources in self.files:
            find(self.what, sources)


def find(what: str, sources: Sequence[str]) -> Path:
    """The file or folder of the first source that has it; fetched if it is not on this machine.

    what: the metric, for the error. Raises UsageError where no source can be had.
    """
    there = next((path for source in sources if (path := _here(source)) is not None), None)
    if there is not None:
        return there
    reasons = []
    for source in sources:
        try:
            return _fetched(source)
        except UsageError as error:
            reasons.append(str(error))
    raise UsageError(f"{what}: {reasons[0]}") from None


def here(what: str, sources: Sequence[str]) -> Path:
    """The same without network access: raises `NotHere` where a run would fetch it first,
    UsageError where a named file or folder is missing.
    """
    there = next((path for source in sources if (path := _here(source)) is not None), None)
    if there is not None:
        return there
    if _address(sources[0]) is None and _reference(sources[0]) is None:
        raise UsageError(f"{what}: {_nowhere(sources[0])}")
    raise NotHere(what, sources)


def all_here(what: str, files: Iterable[Sequence[str]]) -> list[Path]:
    """The same for several files, each by its sources: `NotHere` names all missing ones."""
    found, absent = [], []
    for sources in files:
        try:
            found.append(here(what, sources))
        except NotHere:
            absent.append(sources)
    if absent:
        raise NotHere(what, *absent)
    return found


def said_of(sources: Sequence[str]) -> tuple[int | None, str | None]:
    """Size and licence of the first available source, as its publisher states them (None where it
    does not); nothing is fetched.

    Raises UsageError where no source may be downloaded, Unreachable.
    """
    reasons = []
    for source in sources:
        try:
            return _said_of(source)
        except Unreachable:
            raise
        except UsageError as error:
            reasons.append(error)
    raise reasons[0]


def _said_of(source: str) -> tuple[int | None, str | None]:
    if (address := _address(source)) is not None:
        return hub_client.size_of(address["url"]), None
    ref = _reference(source)
    if ref is None:
        raise UsageError(_nowhere(source))
    there = HUB.ask_for(ref)
    return there.sizes[ref.path], there.licence


def _here(source: str) -> Path | None:
    """A file that is on this machine and, where it is pinned, the right one."""
    path = Path(source).expanduser()
    if path.exists():
        return path
    if (found := _reference(source)) is not None:
        return HUB.cached(found)
    if (address := _address(source)) is not None:
        path = torch_cache() / address["file"]
        whole = path.is_file() and sha256(path).startswith(address["digits"])
        return path if whole else None
    return None


def _fetched(source: str) -> Path:
    if (found := _reference(source)) is not None:
        return HUB.file(found)
    if (address := _address(source)) is None:
        raise UsageError(_nowhere(source))
    path = torch_cache() / address["file"]
    if path.is_file():
        print(f"{path}: is not the file of {address['url']}; fetching it again", file=sys.stderr)
    hub_client.fetch_address(address["url"], path, partial(_check, source))
    HUB.downloaded.append(path.stat().st_size)
    return path


def _check(source: str, path: Path) -> None:
    digits = source.split("#sha256=")[1]
    found = sha256(path)
    if not found.startswith(digits):
        raise UsageError(f"{source}: the download has the sha256 {found} and was deleted")


def _reference(source: str) -> Reference | None:
    found = reference(source) if source.startswith(SCHEME) else None
    return found if found is not None and found.path else None


def _address(source: str) -> re.Match[str] | None:
    return _URL.fullmatch(source)


def _nowhere(source: str) -> str:
    return f"{source}: no such file or folder, and no {SCHEME}owner/name/file"


def torch_cache() -> Path:
    """Where torch keeps files from addresses: TORCH_HOME, XDG_CACHE_HOME or ~/.cache."""
    cache_home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.environ.get("TORCH_HOME", f"{cache_home}/torch")).expanduser()
    return home / "hub" / "checkpoints"


def sha256(path: Path) -> str:
    """The hash of a file, or of a folder's weights, configurations and vocabularies."""
    if path.is_dir():
        kinds = ("*.safetensors", "*.bin", "*.json", "*.txt")
        inside = sorted(found for kind in kinds for found in path.glob(kind))
        if not inside:
            raise UsageError(f"{path}: holds no model")
        named = "".join(f"{found.name} {sha256(found)}\n" for found in inside)
        return hashlib.sha256(named.encode()).hexdigest()
    found = HUB.hashes.file(path)
    HUB.hashes.remember()
    return found
