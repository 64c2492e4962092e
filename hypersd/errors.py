"""Errors of the user, in one line."""

from __future__ import annotations

import difflib
import errno
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

UNEXPECTED = 70  # exit code, EX_SOFTWARE of sysexits.h
LOGS = Path("runs/errors")

_VALID = {
    errno.EISDIR: "a file, not a folder",
    errno.ENOTDIR: "a path of folders, none of them a file",
    errno.EACCES: "what this user may read, or write to",
    errno.EROFS: "a place that can be written to",
    errno.ENOSPC: "a disk with room left",
    errno.EDQUOT: "a disk with room left",
    errno.ELOOP: "a link that leads to a file",
}
"""What would be valid, by the number of the system's error."""


class UsageError(Exception):
    """One line: what is wrong, where, and what would be valid. Shown without a traceback."""


class FileError(ValueError):
    """Why a file is refused: what is wrong and what would be valid, without the file's name."""


@contextmanager
def refused_as(where: object) -> Iterator[None]:
    """Inside the block a FileError or OSError becomes a UsageError that begins with `where`, the
    name of the file."""
    try:
        yield
    except FileError as error:
        raise UsageError(f"{where}: {error}") from None
    except OSError as error:
        raise UsageError(f"{where}: {os_words(error)}") from None


def os_words(error: OSError) -> str:
    """What the system refused, and what would be valid; the caller adds the file."""
    words, valid = error.strerror or brief(error), _VALID.get(error.errno or 0)
    return f"{words}; valid: {valid}" if valid else words


def brief(error: Exception, most: int = 200) -> str:
    """A library's error in one line: its words, or its kind where it has none."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= most else words[: most - 3] + "..."


def nearest(word: str, valid: Iterable[str]) -> str:
    """A clause that names the valid words, the nearest one first where one is near."""
    options = sorted(valid)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    return (f"did you mean {close[0]!r}? " if close else "") + "valid: " + ", ".join(options)


def listed(some: Sequence[str], most: int = 5) -> str:
    """The first few of some words, and how many more there are."""
    more = f" and {len(some) - most:,} more" if len(some) > most else ""
    return ", ".join(some[:most]) + more


def in_a_line(error: UsageError | OSError) -> str:
    """An error as one line; for an OSError (a full disk) with the file."""
    words = str(error)
    if isinstance(error, OSError):
        words = f"{error.filename}: {os_words(error)}" if error.filename else os_words(error)
    return " ".join(words.split())


def unexpected(error: Exception) -> str:
    """One line on an unexpected error, which names the file with its traceback: in LOGS, or in the
    system's temporary folder where LOGS cannot be written."""
    said = f"unexpected {type(error).__name__}: {brief(error)}"
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    text = f"{' '.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}"
    for folder in (LOGS, Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        except OSError:
            continue
        return f"{said}; the trace is in {folder / name}"
    return said


def exit_code(command: Callable[[], int | None]) -> int:
    """A command's exit code: its return value (0 for None); 2 for UsageError or OSError, printed in
    one line on stderr; UNEXPECTED for any other exception."""
    try:
        return command() or 0
    except (UsageError, OSError) as error:
        print(f"error: {in_a_line(error)}", file=sys.stderr)
        return 2
    except Exception as error:
        print(f"error: {unexpected(error)}", file=sys.stderr)
        return UNEXPECTED
