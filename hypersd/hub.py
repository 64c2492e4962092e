"""Files of the Hugging Face hub: found in its cache, fetched, and pinned by a lock file.

Trainings ask for weights by the words of their recipes (`local_file`, `local_folder`,
`local_pipeline`), which are pinned in `default_lock` or by whom it runs for (`using`).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

from hypersd import hub_client
from hypersd.errors import UsageError, nearest
from hypersd.hashes import Hashes
from hypersd.hub_client import Unreachable
from hypersd.hub_lock import Listing, Lock
from hypersd.reference import SCHEME, Reference, parse

MODEL = ("*.json", "*.txt", "model.safetensors")
NETWORKS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
PARTS = (*NETWORKS, "scheduler", "tokenizer", "tokenizer_2", "tokenizer_3")
LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")  # drawing from text needs none
INDEX = "model_index.json"
_WEIGHTS = r"(?:model|diffusion_pytorch_model|pytorch_lora_weights)"
_SHARD = r"(?:-\d+-of-\d+)?"


@dataclass(frozen=True)
class Hub:
    """The hub's files, pinned by a lock. downloaded: the bytes of each file that it fetched."""

    lock: Lock
    downloaded: list[int] = field(default_factory=list, compare=False)

    @cached_property
    def hashes(self) -> Hashes:
        """Hashes of files in the hub's cache, kept beside the lock."""
        return Hashes(self.lock.path.with_name("hashes.json"))

    def cached(self, ref: Reference) -> Path | None:
        """A file that is on this machine already, at the pinned commit where there is one; None
        where it is another than the one that was recorded."""
        found = self._found(ref)
        return None if found is None or self._refused(ref, found) else found

    def file(self, ref: Reference) -> Path:
        """A file of a repository, fetched where it is not cached, checked against the lock.

        The first fetch records full commit, size and sha256; a cached file of other bytes is
        fetched again.  Raises UsageError where it cannot be had, or is another file than the one
        that was recorded: it is not left in the cache then.
        """
        found = self._found(ref)
        refused = None if found is None else self._refused(ref, found)
        if found is not None and refused is None:
            self.lock.record(ref, found, self._sha256(found), None)
            return found
        if refused is None:
            return self._fetched(ref, again=False)
        print(f"{found}: {refused}; fetching it again", file=sys.stderr)
        try:
            return self._fetched(ref, again=True)
        except Unreachable as error:
            raise UsageError(f"{refused} (it cannot be fetched again: {error})") from None

    def listing(self, ref: Reference) -> Listing:
        """Ask the hub for a repository's files, once in a process.

        Raises UsageError: it has none for us; Unreachable.
        """
        return hub_client.listing(ref.repo, self.lock.commit(ref) or ref.revision)

    def ask_for(self, ref: Reference) -> Listing:
        """The listing, once the hub says that it gives us the file as well.

        Raises UsageError: it is gated, or there is no such file; Unreachable.
        """
        there = self.listing(ref)
        if ref.path not in there.sizes:
            raise UsageError(f"{SCHEME}{ref.repo}: {nearest(ref.path, there.sizes)}")
        hub_client.ask_for(ref, there.commit)
        return there

    def cached_pipeline(self, ref: Reference, variant: str | None) -> Path | None:
        """The snapshot folder of a pipeline that is whole on this machine, or None."""
        index = self.cached(ref.file(INDEX))
        if index is None:
            return None
        folder = index.parent
        files = pipeline_files(_inside(folder), variant, parts_of(folder))
        whole = not lacking(folder, files) and all(self.cached(ref.file(name)) for name in files)
        return folder if whole else None

    def pipeline(self, ref: Reference, variant: str | None = None) -> Path:
        """The folder of a pipeline, its files fetched where they are not cached, and checked.

        variant: "fp16" for half precision files, where there are such.  Raises UsageError where it
        cannot be had, or is no pipeline with safetensors.
        """
        here = self.cached_pipeline(ref, variant)
        names: Iterable[str] = self.listing(ref).sizes if here is None else _inside(here)
        if INDEX not in names:
            raise UsageError(f"{ref}: is no pipeline (it has no {INDEX})")
        folder = self.file(ref.file(INDEX)).parent
        files = pipeline_files(names, variant, parts_of(folder))
        for name in files:
            self.file(ref.file(name))
        absent = lacking(folder, files)
        if absent:
            raise UsageError(f"{ref}: has no safetensors of its {', '.join(absent)}")
        return folder

    def folder(self, ref: Reference, patterns: Sequence[str] = MODEL) -> Path:
        """The folder of a model, with those of its files that match, checked. Raises UsageError."""
        index = self.cached(ref.file("config.json"))
        there = _inside(index.parent) if index is not None and hub_client.offline() else None
        names = there if there is not None else self.listing(ref).sizes
        wanted = [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]
        if "config.json" not in wanted:
            raise UsageError(f"{ref}: is no model (it has no config.json)")
        return [self.file(ref.file(name)) for name in wanted][wanted.index("config.json")].parent

    def _found(self, ref: Reference) -> Path | None:
        return hub_client.cached(ref, self.lock.commit(ref) or ref.revision)

    def _refused(self, ref: Reference, path: Path) -> str | None:
        """Why a file is not the one that was recorded."""
        try:
            self.lock.check(ref, path.stat().st_size, None)
            if self.lock.expected(ref)["sha256"] is not None:
                self.lock.check(ref, path.stat().st_size, self._sha256(path))
        except UsageError as error:
            return str(error)
        return None

    def _sha256(self, path: Path) -> str:
        found = self.hashes.file(path)
        self.hashes.remember()
        return found

    def _fetched(self, ref: Reference, *, again: bool) -> Path:
        there = self.listing(ref)  # without a network it ends soon, the download only in minutes
        if ref.path not in there.sizes:
            raise UsageError(f"{SCHEME}{ref.repo}: {nearest(ref.path, there.sizes)}")
        # By the name of a branch at first, so that the client writes down which commit that is and
        # a cache is found without this lock.
        pinned = self.lock.commit(ref)
        path = hub_client.download(ref, pinned or ref.revision, again=again)
        self.downloaded.append(path.stat().st_size)
        try:
            self.lock.record(ref, path, self._sha256(path), there.licence)
        except UsageError:
            hub_client.remove(path)
            raise
        return path


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


def machine_lock() -> Path:
    """The lock of all that this machine was given first, beside the hub's cache:
    `few-step-bench/hub.json` in $HF_ASSETS_CACHE or $HF_HOME/assets."""
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE) / "few-step-bench" / "hub.json"


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


def wanted_variant(precision: str) -> str | None:
    """Which of a pipeline's files are taken. Of "bf16" the half precision ones, where there are
    such: half as many bytes, and fp16 keeps three bits more of a weight than bf16 does."""
    return None if precision == "fp32" else "fp16"


def parts_of(folder: Path) -> tuple[str, ...]:
    """The sub-folders that a pipeline is loaded from: the usual ones, and others that its
    model_index.json names."""
    named = [name for name, part in _index(folder).items() if _is_part(part)]
    return (*PARTS, *(name for name in named if name not in (*PARTS, *LEFT_OUT)))


def pipeline_files(
    names: Iterable[str], variant: str | None, parts: Iterable[str] = PARTS
) -> list[str]:
    """The files that a pipeline is loaded from: configurations, vocabularies and one set of
    safetensors per part, those of the variant ("fp16") where the part has them; without a variant
    half precision ones only where there are no others.

    The safety checker is left out: it blacks pictures out, and a benchmark counts all of them. A
    checkpoint in one file beside the parts is none of them.
    """
    there = sorted(names)
    picked = [name for name in there if name == INDEX]
    for part in parts:
        inside = [name for name in there if name.startswith(f"{part}/") and name.count("/") == 1]
        picked += [n for n in inside if re.search(r"(?<!index)\.(json|txt|model|jinja)$", n)]
        plain = _matching(inside, rf"{_WEIGHTS}{_SHARD}\.safetensors(\.index\.json)?")
        half = variant or "fp16"
        special = rf"{_WEIGHTS}(\.{half}{_SHARD}|{_SHARD}\.{half})\.safetensors"
        halves = _matching(inside, rf"{special}|{_WEIGHTS}\.safetensors\.index\.{half}\.json")
        picked += (halves or plain) if variant else (plain or halves)
    return sorted(set(picked))


def lacking(folder: Path, files: Iterable[str]) -> list[str]:
    """The parts that `model_index.json` names and `files` hold nothing usable of."""
    index, kinds = _index(folder), {(name.split("/")[0], Path(name).suffix) for name in files}
    parts = [part for part in parts_of(folder) if _is_part(index.get(part))]
    return [part for part in parts if not _is_whole(part, kinds)]


def _is_whole(part: str, kinds: set[tuple[str, str]]) -> bool:
    """kinds: parts and suffixes of what is there. What a part of another name is loaded from is
    its class's business."""
    if part in NETWORKS:
        return (part, ".safetensors") in kinds
    return (part, ".json") in kinds or (part not in PARTS and (part, ".safetensors") in kinds)


def _index(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / INDEX).read_bytes())
    return found


def _is_part(entry: object) -> bool:
    """Whether an entry of model_index.json names a part's library and class."""
    return isinstance(entry, list) and len(entry) == 2 and entry[0] is not None


def _matching(names: list[str], pattern: str) -> list[str]:
    return [name for name in names if re.fullmatch(pattern, name.split("/")[-1])]


def _inside(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
