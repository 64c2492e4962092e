"""Where an evaluator's weights are: on this machine, on the hub, or at a pinned address.

A source is written as one of

    /a/file or a/folder                       on this machine
    hf://owner/name[@revision]/file           a file on the hub, pinned by the lock file
    https://.../name#sha256=HEX               an address, HEX the file's hash or its first digits
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.errors import UsageError
from bench.results.hub import HUB
from hypersd import hub
from hypersd.hashes import Hashes
from hypersd.reference import SCHEME, Reference, reference

HASHES = Hashes()  # once per process and state of a file: the large ones take seconds
_URL = re.compile(r"(?P<url>https://[^#]+/(?P<file>[^#/]+))#sha256=(?P<digits>[0-9a-f]{8,64})")


class NotHere(hub.NotFetched):
    """Files that a run would fetch first: of each the sources, the best one first."""

    def __init__(self, what: str, *files: Sequence[str]) -> None:
        super().__init__(f"{what}: needs {', '.join(one[0].split('#')[0] for one in files)}")
        self.what, self.files = what, files

    def fetch(self) -> None:
        """Fetch them. Raises UsageError where one cannot be had."""
        for sources in self.files:
            find(self.what, sources)


def find(what: str, sources: Sequence[str]) -> Path:
    """The file or folder of the first source that has it; fetched where it is not here yet.

    what: who asks, for the error.  Raises UsageError where no source can be had.
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
    """The same without asking the network: `NotHere` where a run would fetch it first.

    Raises UsageError where a file or folder on this machine is named that is not there.
    """
    there = next((path for source in sources if (path := _here(source)) is not None), None)
    if there is not None:
        return there
    if _address(sources[0]) is None and _reference(sources[0]) is None:
        raise UsageError(f"{what}: {_nowhere(sources[0])}")
    raise NotHere(what, sources)


def all_here(what: str, files: Iterable[Sequence[str]]) -> list[Path]:
    """The same of several files, each by its sources: `NotHere` names all that are not."""
    found, absent = [], []
    for sources in files:
        try:
            found.append(here(what, sources))
        except NotHere:
            absent.append(sources)
    if absent:
        raise NotHere(what, *absent)
    return found


def _here(source: str) -> Path | None:
    path = Path(source).expanduser()
    if path.exists():
        return path
    if (found := _reference(source)) is not None:
        return HUB.cached(found)
    if (address := _address(source)) is not None:
        path = torch_cache() / address["file"]
        return _checked(path, address["digits"]) if path.is_file() else None
    return None


def _fetched(source: str) -> Path:
    if (found := _reference(source)) is not None:
        return HUB.file(found)
    if (address := _address(source)) is None:
        raise UsageError(_nowhere(source))
    path = torch_cache() / address["file"]
    _download(address["url"], path)
    HUB.downloaded.append(path.stat().st_size)
    return _checked(path, address["digits"])


def _checked(path: Path, digits: str) -> Path:
    if not sha256(path).startswith(digits):
        raise UsageError(f"{path}: its sha256 does not begin with {digits}; remove it")
    return path


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


def _download(url: str, path: Path) -> None:
    if hub.offline():
        raise UsageError(f"{path}: not there, and HF_HUB_OFFLINE forbids to fetch {url}")
    from torch.hub import download_url_to_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(url, str(path))
    except OSError as error:
        raise UsageError(f"{url}: cannot be fetched ({error}); put it at {path}") from None


def sha256(path: Path) -> str:
    """The hash of a file, or of a folder's weights, configurations and vocabularies."""
    if path.is_dir():
        kinds = ("*.safetensors", "*.bin", "*.json", "*.txt")
        inside = sorted(found for kind in kinds for found in path.glob(kind))
        if not inside:
            raise UsageError(f"{path}: holds no model")
        named = "".join(f"{found.name} {sha256(found)}\n" for found in inside)
        return hashlib.sha256(named.encode()).hexdigest()
    return HASHES.file(path)
