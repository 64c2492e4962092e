"""Files of the Hugging Face hub: found in its cache, fetched, and pinned by a lock file.

`huggingface_hub` does the work, so HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT and tokens hold here as
everywhere. Nothing that is fetched is ever executed.

Trainings ask for weights by the words of their recipes (`local_file`, `local_folder`,
`local_pipeline`), which are pinned in `default_lock` or by whom it runs for (`using`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from hypersd.errors import UsageError, brief, nearest
from hypersd.hub_lock import Listing, Lock
from hypersd.reference import SCHEME, Reference, parse

TIMEOUT = 5.0  # seconds for one question to the hub, so that a plan without network ends soon
MODEL = ("*.json", "*.txt", "model.safetensors")
NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")
PARTS = (*NETWORKS, "scheduler", "tokenizer", "tokenizer_2")
_WEIGHTS = r"(?:model|diffusion_pytorch_model|pytorch_lora_weights)"
_SHARD = r"(?:-\d+-of-\d+)?"


class Unreachable(UsageError):
    """The hub does not answer, or must not be asked."""


class NotFetched(UsageError):
    """A file of the hub that a run would fetch first."""


@dataclass(frozen=True)
class Hub:
    """The hub's files, pinned by a lock. downloaded: the bytes of each file that it fetched."""

    lock: Lock
    downloaded: list[int] = field(default_factory=list, compare=False)

    def cached(self, ref: Reference) -> Path | None:
        """A file that is on this machine already, at the pinned commit where there is one."""
        from huggingface_hub import try_to_load_from_cache

        at = self.lock.commit(ref) or ref.revision
        found = try_to_load_from_cache(ref.repo, ref.path, revision=at)
        return Path(found) if isinstance(found, str | os.PathLike) else None

    def file(self, ref: Reference) -> Path:
        """A file of a repository, fetched where it is not cached, checked against the lock.

        The first fetch records full commit, size and sha256. Raises UsageError where it cannot be
        had, or is another file than the one that was recorded.
        """
        found = self.cached(ref)
        if found is None:
            return self._fetched(ref)
        self.lock.record(ref, found)
        return found

    def listing(self, ref: Reference) -> Listing:
        """Ask the hub for a repository's files, once in a process.

        Raises UsageError: it has none for us; Unreachable.
        """
        return _listing(ref.repo, self.lock.commit(ref) or ref.revision)

    def cached_pipeline(self, ref: Reference, variant: str | None) -> Path | None:
        """The snapshot folder of a pipeline that is whole on this machine, or None."""
        index = self.cached(ref.file("model_index.json"))
        if index is None:
            return None
        folder = index.parent
        return None if lacking(folder, pipeline_files(_inside(folder), variant)) else folder

    def pipeline(self, ref: Reference, variant: str | None = None) -> Path:
        """The folder of a pipeline, its files fetched where they are not cached, and checked.

        variant: "fp16" for half precision files, where there are such.  Raises UsageError where it
        cannot be had, or is no pipeline with safetensors.
        """
        here = self.cached_pipeline(ref, variant)
        names: Iterable[str] = self.listing(ref).sizes if here is None else _inside(here)
        files = pipeline_files(names, variant)
        if "model_index.json" not in files:
            raise UsageError(f"{ref}: is no pipeline (it has no model_index.json)")
        paths = [self.file(ref.file(name)) for name in files]
        folder = paths[files.index("model_index.json")].parent
        absent = lacking(folder, files)
        if absent:
            raise UsageError(f"{ref}: has no safetensors of its {', '.join(absent)}")
        return folder

    def folder(self, ref: Reference, patterns: Sequence[str] = MODEL) -> Path:
        """The folder of a model, with those of its files that match, checked. Raises UsageError."""
        index = self.cached(ref.file("config.json"))
        there = _inside(index.parent) if index is not None and offline() else None
        names = there if there is not None else self.listing(ref).sizes
        wanted = [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]
        if "config.json" not in wanted:
            raise UsageError(f"{ref}: is no model (it has no config.json)")
        return [self.file(ref.file(name)) for name in wanted][wanted.index("config.json")].parent

    def _fetched(self, ref: Reference) -> Path:
        from huggingface_hub import hf_hub_download

        there = self.listing(ref)  # without a network it ends soon, the download only in minutes
        if ref.path not in there.sizes:
            raise UsageError(f"{SCHEME}{ref.repo}: {nearest(ref.path, there.sizes)}")
        with _said(ref):
            found = Path(hf_hub_download(ref.repo, ref.path, revision=there.commit))
        self.downloaded.append(found.stat().st_size)
        self.lock.record(ref, found, there)
        return found


_HUB: ContextVar[Hub | None] = ContextVar("hub", default=None)


@contextmanager
def using(hub: Hub) -> Iterator[None]:
    """The words of recipes are fetched by this one while it lasts."""
    token = _HUB.set(hub)
    try:
        yield
    finally:
        _HUB.reset(token)


def default_lock() -> Lock:
    """`runs/cache/hub.json`, or `hub.json` in the folder that HYPERSD_CACHE names."""
    return Lock(Path(os.environ.get("HYPERSD_CACHE", "runs/cache")) / "hub.json")


def local_file(name: str) -> Path:
    """The file of a reference, fetched where it is on the hub; any other name is a path.

    Raises UsageError for a reference that cannot be read or had.
    """
    if not name.startswith(SCHEME):
        return Path(name)
    ref = parse(name)
    if not ref.path:
        raise UsageError(f"{name}: no file; valid: {SCHEME}owner/name/path/to/file")
    return _hub().file(ref)


def local_folder(name: str) -> Path:
    """The folder of a model. Raises UsageError as above."""
    return _hub().folder(parse(name)) if name.startswith(SCHEME) else Path(name)


def local_pipeline(name: str, variant: str | None = None) -> Path:
    """The folder of a pipeline. Raises UsageError as above."""
    return _hub().pipeline(parse(name), variant) if name.startswith(SCHEME) else Path(name)


def _hub() -> Hub:
    return _HUB.get() or Hub(default_lock())


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cache_folder() -> Path:
    """Where the hub's files are kept: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def pipeline_files(names: Iterable[str], variant: str | None) -> list[str]:
    """What a Stable Diffusion pipeline is loaded from: configurations, vocabularies and one set
    of safetensors per part, those of the variant ("fp16") where the part has them; without a
    variant half precision ones only where there are no others.

    The safety checker is left out: it blacks pictures out, and a benchmark counts all of them.
    """
    there = sorted(names)
    picked = [name for name in there if name == "model_index.json"]
    for part in PARTS:
        inside = [name for name in there if name.startswith(f"{part}/") and name.count("/") == 1]
        picked += [n for n in inside if re.search(r"(?<!index)\.(json|txt)$", n)]
        plain = _matching(inside, rf"{_WEIGHTS}{_SHARD}\.safetensors(\.index\.json)?")
        half = variant or "fp16"
        special = rf"{_WEIGHTS}(\.{half}{_SHARD}|{_SHARD}\.{half})\.safetensors"
        halves = _matching(inside, rf"{special}|{_WEIGHTS}\.safetensors\.index\.{half}\.json")
        picked += (halves or plain) if variant else (plain or halves)
    return sorted(set(picked))


def lacking(folder: Path, files: Iterable[str]) -> list[str]:
    """The parts that `model_index.json` names and `files` hold nothing usable of."""
    index = json.loads((folder / "model_index.json").read_bytes())
    parts = [p for p in PARTS if isinstance(index.get(p), list) and index[p][0] is not None]
    suffixes = {p: ".safetensors" if p in NETWORKS else ".json" for p in parts}
    held = {(name.split("/")[0], Path(name).suffix) for name in files}
    return [part for part, suffix in suffixes.items() if (part, suffix) not in held]


def _matching(names: list[str], pattern: str) -> list[str]:
    return [name for name in names if re.fullmatch(pattern, name.split("/")[-1])]


def _inside(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]


@cache
def _listing(repo: str, revision: str | None) -> Listing:
    from huggingface_hub import HfApi

    if offline():
        raise Unreachable(f"{SCHEME}{repo}: not on this machine, and HF_HUB_OFFLINE is set")
    with _said(Reference(repo, revision)):
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
    card = info.card_data
    licence = card.get("license") if card is not None else None
    sizes = {item.rfilename: int(item.size or 0) for item in info.siblings or ()}
    return Listing(str(info.sha), str(licence) if licence else None, sizes)


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
        words = brief(error, 160)
        known = next((said for kind, said in kinds.items() if isinstance(error, kind)), None)
        if known is None and not isinstance(error, errors.HfHubHTTPError | ValueError):
            raise Unreachable(f"{what}: the hub cannot be reached ({words})") from None
        raise UsageError(f"{what}: {known or words}") from None
