"""Weights by reference: a folder or file here, or one of the Hugging Face hub.

A reference to the hub is `hf://owner/name[@revision][/path]`, as in suites. `huggingface_hub` does
the work, so HF_HOME, HF_HUB_OFFLINE and tokens hold. Nothing that is fetched is executed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hypersd.errors import UsageError

SCHEME = "hf://"
_NAME = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<path>.+))?")
PIPELINE = ("*.json", "*.txt", "*/model.safetensors", "*/diffusion_pytorch_model.safetensors")
MODEL = ("*.json", "*.txt", "model.safetensors")


def local_folder(name: str, files: Sequence[str] = MODEL) -> Path:
    """The folder of a reference, fetched where it is on the hub: those of its files that match.

    Raises UsageError for a reference that cannot be read or had.
    """
    if not name.startswith(SCHEME):
        return Path(name)
    from huggingface_hub import snapshot_download

    found = _parts(name)
    try:
        return Path(
            snapshot_download(found["repo"], revision=found["revision"], allow_patterns=[*files])
        )
    except Exception as error:  # the hub's client raises many kinds
        raise UsageError(f"{name}: {_line(error)}") from None


def local_file(name: str) -> Path:
    """The file of a reference, fetched where it is on the hub. Raises UsageError as above."""
    if not name.startswith(SCHEME):
        return Path(name)
    from huggingface_hub import hf_hub_download

    found = _parts(name)
    if not found["path"]:
        raise UsageError(f"{name}: no file; valid: {SCHEME}owner/name/path/to/file")
    try:
        return Path(hf_hub_download(found["repo"], found["path"], revision=found["revision"]))
    except Exception as error:  # the hub's client raises many kinds
        raise UsageError(f"{name}: {_line(error)}") from None


def _parts(name: str) -> dict[str, str]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(f"{name!r}; valid: {SCHEME}owner/name[@revision][/path]")
    return found.groupdict()


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
