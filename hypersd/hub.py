"""Weights by reference: a folder or file here, or one of the Hugging Face hub.

A reference to the hub is `hf://owner/name[@revision][/path]`, as in suites. `huggingface_hub` does
the work, so HF_HOME, HF_HUB_OFFLINE and tokens hold. Nothing that is fetched is executed.

Who has counted and pinned a training's files beforehand, as a benchmark has, lets it fetch them
through `fetched_by`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

from hypersd.errors import UsageError

SCHEME = "hf://"
_NAME = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<path>.+))?")
MODEL = ("*.json", "*.txt", "model.safetensors")
PARTS = ("scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae")
_WEIGHTS = r"(?:model|diffusion_pytorch_model|pytorch_lora_weights)"
_SHARD = r"(?:-\d+-of-\d+)?"


class Fetcher(Protocol):
    """Whoever brings files of the hub here: by repository, revision (None: the newest), and what
    is wanted of it. Raises UsageError where it cannot."""

    def file(self, repo: str, revision: str | None, path: str) -> Path:
        """One file."""
        ...

    def folder(self, repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
        """A folder with the files that match."""
        ...

    def pipeline(self, repo: str, revision: str | None, variant: str | None) -> Path:
        """A folder with what a pipeline is loaded from (`pipeline_files`)."""
        ...


_FETCHER: ContextVar[Fetcher | None] = ContextVar("fetcher", default=None)


@contextmanager
def fetched_by(fetcher: Fetcher) -> Iterator[None]:
    """References are fetched by another one while this lasts."""
    token = _FETCHER.set(fetcher)
    try:
        yield
    finally:
        _FETCHER.reset(token)


def local_file(name: str) -> Path:
    """The file of a reference, fetched where it is on the hub; any other name is a path.

    Raises UsageError for a reference that cannot be read or had.
    """
    if not name.startswith(SCHEME):
        return Path(name)
    repo, revision, path = parts(name)
    if not path:
        raise UsageError(f"{name}: no file; valid: {SCHEME}owner/name/path/to/file")
    with _said(name):
        return _fetcher().file(repo, revision, path)


def local_folder(name: str, files: Sequence[str] = MODEL) -> Path:
    """The folder of a reference, with those of its files that match. Raises UsageError as above."""
    if not name.startswith(SCHEME):
        return Path(name)
    repo, revision, _ = parts(name)
    with _said(name):
        return _fetcher().folder(repo, revision, files)


def local_pipeline(name: str, variant: str | None = None) -> Path:
    """The folder of a pipeline. variant: "fp16" for half precision files, where there are such.

    Raises UsageError as above.
    """
    if not name.startswith(SCHEME):
        return Path(name)
    repo, revision, _ = parts(name)
    with _said(name):
        return _fetcher().pipeline(repo, revision, variant)


def parts(name: str) -> tuple[str, str | None, str]:
    """Repository, revision and path of a reference. Raises UsageError where it is none."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(f"{name!r}; valid: {SCHEME}owner/name[@revision][/path]")
    return found["repo"], found["revision"], found["path"] or ""


def pipeline_files(names: Iterable[str], variant: str | None) -> list[str]:
    """What a Stable Diffusion pipeline is loaded from: configurations, vocabularies and one set
    of safetensors per part, those of the variant ("fp16") where the part has them.

    The safety checker is left out: it blacks pictures out, and a benchmark counts all of them.
    """
    there = sorted(names)
    picked = [name for name in there if name == "model_index.json"]
    for part in PARTS:
        inside = [name for name in there if name.startswith(f"{part}/") and name.count("/") == 1]
        picked += [n for n in inside if re.search(r"(?<!index)\.(json|txt)$", n)]
        plain = _matching(inside, rf"{_WEIGHTS}{_SHARD}\.safetensors(\.index\.json)?")
        special = rf"{_WEIGHTS}(\.{variant}{_SHARD}|{_SHARD}\.{variant})\.safetensors"
        index = rf"{_WEIGHTS}\.safetensors\.index\.{variant}\.json"
        picked += (_matching(inside, f"{special}|{index}") if variant else []) or plain
    return sorted(set(picked))


def _matching(names: list[str], pattern: str) -> list[str]:
    return [name for name in names if re.fullmatch(pattern, name.split("/")[-1])]


def _fetcher() -> Fetcher:
    return _FETCHER.get() or _Newest()


class _Newest:
    """The hub's own client: what a revision is now."""

    def file(self, repo: str, revision: str | None, path: str) -> Path:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repo, path, revision=revision))

    def folder(self, repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(repo, revision=revision, allow_patterns=[*patterns]))

    def pipeline(self, repo: str, revision: str | None, variant: str | None) -> Path:
        from huggingface_hub import constants, list_repo_files

        if constants.HF_HUB_OFFLINE:  # what is there is all that can be had
            return self.folder(repo, revision, ("*",))
        names = list_repo_files(repo, revision=revision)
        return self.folder(repo, revision, pipeline_files(names, variant))


@contextmanager
def _said(name: str) -> Iterator[None]:
    """Errors of the hub's client, which are of many kinds, in one line."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(f"{name}: {line}") from None
