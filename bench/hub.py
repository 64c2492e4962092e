"""Files of the Hugging Face hub: found in its cache, fetched, and pinned by a lock file.

A reference is written `hf://owner/name[@revision][/path/to/file]`; without a path it is a whole
repository. `huggingface_hub` does the work, so HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT and tokens
hold here as everywhere. Nothing that is fetched is ever executed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from bench import hub_lock
from bench.errors import UsageError, nearest
from bench.hub_lock import Listing
from hypersd.hub import PARTS, SCHEME, pipeline_files

TIMEOUT = 5.0  # seconds for one question to the hub, so that a plan without network ends soon
_NAME = re.compile(
    r"(?:hf://)?(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+?))?(?:/(?P<path>[^@]+))?"
)


@dataclass(frozen=True)
class Reference:
    """A file of a repository, or all of it where `path` is "". revision: None is the newest."""

    repo: str
    revision: str | None = None
    path: str = ""

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{self.repo}{at}{'/' + self.path if self.path else ''}"


class Unreachable(UsageError):
    """The hub does not answer, or must not be asked."""


class NotFetched(UsageError):
    """A file of the hub that a run would fetch first."""


def reference(name: str) -> Reference | None:
    """The reference in `hf://owner/name...`, or in a bare `owner/name` that is no path here.

    None for everything else.
    """
    match = _NAME.fullmatch(name)
    if match is None or match["repo"].startswith("."):
        return None
    bare = not name.startswith(SCHEME)
    if bare and (match["path"] or Path(name).suffix in hub_lock.WEIGHTS or Path(name).exists()):
        return None
    return Reference(match["repo"], match["revision"], match["path"] or "")


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cache_folder() -> Path:
    """Where the hub's files are kept: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached(repo: str, name: str, revision: str | None = None) -> Path | None:
    """A file that is on this machine already, at the pinned commit where there is one."""
    from huggingface_hub import try_to_load_from_cache

    at = hub_lock.commit(repo, revision) or revision
    found = try_to_load_from_cache(repo, name, revision=at)
    return Path(found) if isinstance(found, str | os.PathLike) else None


def file(repo: str, name: str, revision: str | None = None) -> Path:
    """A file of a repository, fetched where it is not cached, checked against the lock file.

    The first fetch records full commit, size and sha256. Raises UsageError where it cannot be
    had, or is another file than the one that was recorded.
    """
    found = cached(repo, name, revision)
    if found is None:
        return _fetched(repo, name, revision)
    hub_lock.record(repo, revision, name, found)
    return found


def _fetched(repo: str, name: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    there = listing(repo, revision)  # without a network it ends soon, the download only in minutes
    if name not in there.sizes:
        raise UsageError(f"{SCHEME}{repo}: {nearest(name, there.sizes)}")
    with _said(Reference(repo, revision, name)):
        found = Path(hf_hub_download(repo, name, revision=there.commit))
    hub_lock.record(repo, revision, name, found, there)
    return found


@cache
def listing(repo: str, revision: str | None = None) -> Listing:
    """Ask the hub for a repository's files. Raises UsageError: it has none for us; Unreachable."""
    from huggingface_hub import HfApi

    if offline():
        raise Unreachable(f"{SCHEME}{repo}: not on this machine, and HF_HUB_OFFLINE is set")
    with _said(Reference(repo, revision)):
        info = HfApi().model_info(
            repo,
            revision=hub_lock.commit(repo, revision) or revision,
            files_metadata=True,
            timeout=TIMEOUT,
        )
    card = info.card_data
    licence = card.get("license") if card is not None else None
    sizes = {item.rfilename: int(item.size or 0) for item in info.siblings or ()}
    return Listing(str(info.sha), str(licence) if licence else None, sizes)


def lacking(folder: Path, files: Iterable[str]) -> list[str]:
    """The parts that `model_index.json` names and `files` hold nothing usable of."""
    index = json.loads((folder / "model_index.json").read_text())
    parts = [p for p in PARTS if isinstance(index.get(p), list) and index[p][0] is not None]
    networks = ("unet", "vae", "text_encoder", "text_encoder_2")
    suffixes = {p: ".safetensors" if p in networks else ".json" for p in parts}
    held = {(name.split("/")[0], Path(name).suffix) for name in files}
    return [part for part, suffix in suffixes.items() if (part, suffix) not in held]


def cached_pipeline(repo: str, revision: str | None, variant: str | None) -> Path | None:
    """The snapshot folder of a pipeline that is whole on this machine, or None."""
    index = cached(repo, "model_index.json", revision)
    if index is None:
        return None
    folder = index.parent
    names = _inside(folder)
    return None if lacking(folder, pipeline_files(names, variant)) else folder


def pipeline(repo: str, revision: str | None = None, variant: str | None = None) -> Path:
    """The folder of a pipeline, its files fetched where they are not cached, and checked.

    Raises UsageError where it cannot be had, or is no pipeline with safetensors.
    """
    folder = cached_pipeline(repo, revision, variant)
    if folder is None:
        names: Iterable[str] = listing(repo, revision).sizes
    else:
        names = _inside(folder)
    files = pipeline_files(names, variant)
    if "model_index.json" not in files:
        raise UsageError(f"{SCHEME}{repo}: is no pipeline (it has no model_index.json)")
    paths = [file(repo, name, revision) for name in files]
    folder = paths[files.index("model_index.json")].parent
    absent = lacking(folder, files)
    if absent:
        raise UsageError(f"{SCHEME}{repo}: has no safetensors of its {', '.join(absent)}")
    return folder


def folder(repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder of a model, with those of its files that match, checked. Raises UsageError."""
    index = cached(repo, "config.json", revision)
    there = _inside(index.parent) if index is not None and offline() else None
    names = there if there is not None else listing(repo, revision).sizes
    wanted = [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]
    if "config.json" not in wanted:
        raise UsageError(f"{SCHEME}{repo}: is no model (it has no config.json)")
    return [file(repo, name, revision) for name in wanted][wanted.index("config.json")].parent


def _inside(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]


@contextmanager
def _said(what: Reference) -> Iterator[None]:
    """Errors of the hub's client in one line that says what to do."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{what.repo}"
    kinds: dict[type[Exception], str] = {
        errors.GatedRepoError: f"accept its licence at {page} and set HF_TOKEN",
        errors.RepositoryNotFoundError: "no such repository, or it is private: set HF_TOKEN",
        errors.RevisionNotFoundError: f"has no such revision; see {page}/commits",
    }
    try:
        yield
    except Exception as error:  # which HTTP library the client uses changes with its version
        words = " ".join(str(error).split())[:160] or type(error).__name__
        known = next((said for kind, said in kinds.items() if isinstance(error, kind)), None)
        if known is None and not isinstance(error, errors.HfHubHTTPError | ValueError):
            raise Unreachable(f"{what}: the hub cannot be reached ({words})") from None
        raise UsageError(f"{what}: {known or words}") from None
