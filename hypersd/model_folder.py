"""Finds the file of a model folder that keeps a library from loading it."""

from __future__ import annotations

import json
from pathlib import Path

from hypersd import tensor_files
from hypersd.errors import FileError, brief, os_words
from hypersd.file_kinds import JSON, fault
from hypersd.reference import PICKLES


def culprit(folder: Path) -> str | None:
    """The first file that is not what its name says: its path in the folder, and what is wrong with
    it."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        try:
            _check(path)
        except FileError as error:
            return f"{path.relative_to(folder)} {error}"
        except OSError as error:
            return f"{path.relative_to(folder)}: {os_words(error)}"
    return None


def cannot_load(folder: Path, error: Exception) -> str:
    """Why a library cannot load a folder: a bad file in it, else the library's own words."""
    return culprit(folder) or f"cannot be loaded ({brief(error, 160)})"


def _check(path: Path) -> None:
    if path.suffix in (".safetensors", *PICKLES):
        tensor_files.check(path)
    elif path.suffix == ".json":
        try:
            json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            raise FileError(fault(path, JSON)) from None
