"""Files and folders that appear whole or not at all: written beside, then renamed.

The file being written has a name of its own, `.<name>.<machine>-<process>-<number>.writing`, so
that processes of one machine or of many, and threads, may write the same file: the last one stands.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from hypersd.errors import UsageError

BEGUN = ".writing"
TAKEN = (errno.EEXIST, errno.ENOTEMPTY)
_NUMBERS = count()  # one each for all that this process begins, whichever thread does


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
    try:
        beside.mkdir(parents=True)
        yield beside
        _take_place(beside, path, old)
    except BaseException:
        with suppress(OSError):  # there is nothing to put back, or another's is there
            old.rename(path)
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _take_place(beside: Path, path: Path, old: Path) -> None:
    """Rename a folder to `path`, an older one to `old`; of several at once the last one stands."""
    while True:
        with suppress(FileNotFoundError):
            path.rename(old)
        try:
            beside.rename(path)
        except OSError as error:
            if error.errno not in TAKEN and not path.exists():
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            return


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Inside the block this process or thread alone may read, change and write a shared file;
    others that ask for it wait. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Inside the block the folder belongs to this process. Raises UsageError where another process
    holds it, and OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"{folder}: another process is at work there; wait, or choose another "
                         "out=") from None  # fmt: skip
    try:
        yield
    finally:
        lock.release()


def _beside(path: Path) -> Path:
    """A unique name beside `path`."""
    _clear(path.parent.absolute())
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{next(_NUMBERS)}{BEGUN}")


@cache
def _machine() -> str:
    """The scope of process numbers: the host, and on Linux the container."""
    with suppress(OSError):
        return _short(f"{platform.node()} {os.readlink('/proc/self/ns/pid')}")
    return _short(platform.node())


def _short(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:8]


@cache  # once in a process: a folder may hold many files
def _clear(folder: Path) -> None:
    """Remove what processes of this machine that were killed had begun in a folder."""
    for left in folder.glob(f".*.{_machine()}-*{BEGUN}"):
        process = left.name.removesuffix(BEGUN).split("-")[-2]
        if not process.isdecimal() or _is_alive(int(process)):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    import psutil  # not os.kill(process, 0), which interrupts the process on Windows

    return bool(psutil.pid_exists(process))
