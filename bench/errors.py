"""Errors of the user, in one line: the same classes that `hypersd` raises."""

from __future__ import annotations

from hypersd.errors import (
    UNEXPECTED,
    UsageError,
    brief,
    exit_code,
    in_a_line,
    listed,
    nearest,
    os_words,
    unexpected,
)

__all__ = [
    "UNEXPECTED",
    "UsageError",
    "brief",
    "exit_code",
    "in_a_line",
    "listed",
    "nearest",
    "os_words",
    "unexpected",
]
