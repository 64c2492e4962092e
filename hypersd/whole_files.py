"""Files and folders that are there whole or not at all: written beside, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

BEGUN = ".writing"


@contextmanager
def written_whole(path: Path, *, synced: bool = True) -> Iterator[Path]:
    """A path to write to, which becomes `path` at the end of the block.

    Readers see the old file or the new one; where the block raises, the old one stays and nothing
    else is left.  synced: the content is on the disk before it takes the name; without, a loss of
    power can leave an empty file, which will do where a reader notices and makes it again.
    Raises OSError.
    """
    beside = _beside(path)
    try:
        yield beside
        if synced:
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes `path` at the end of the block; an older one stays
    until then, and where the block raises. Raises OSError."""
    beside = _beside(path)
    old = beside.with_suffix(".old")
    shutil.rmtree(beside, ignore_errors=True)  # of a killed process that had this number
    try:
        beside.mkdir(parents=True)
        yield beside
        if path.exists():
            path.rename(old)
        beside.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    """This process's own name beside `path`."""
    _clear(path.parent.absolute())
    return path.with_name(f".{path.name}.{os.getpid()}{BEGUN}")


@cache  # once in a process: a folder may hold many files
def _clear(folder: Path) -> None:
    """Remove what processes that were killed had begun in a folder."""
    for left in folder.glob(f".*{BEGUN}"):
        process = left.name.removesuffix(BEGUN).rpartition(".")[2]
        if not process.isdecimal() or _is_alive(int(process)):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True
