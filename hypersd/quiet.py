"""Libraries' output while they load: no progress bars or hints; warnings are collected and printed
by this project."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

LIBRARIES = ("diffusers", "transformers", "peft", "accelerate")
SAYS_NOTHING = ("should be kept in float32: []",)  # diffusers, of every network that is cast
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
OF_CODE = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)  # not of what is loaded


@cache
def quiet() -> None:
    """Switch off progress bars and hints; what matters is checked here and raised, or collected by
    `heard`."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    for library in (of_diffusers, of_transformers):
        library.set_verbosity_error()
        library.disable_progress_bar()


@contextmanager
def heard() -> Iterator[list[str]]:
    """Inside the block no library prints a warning; after it the list has each warning once, in one
    line."""
    quiet()
    found: list[str] = []
    ear = _Ear(found)
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    raised: list[warnings.WarningMessage] = []
    before = [(one, one.level, one.handlers, one.propagate) for one in loggers]
    for one in loggers:
        one.handlers, one.propagate = [ear], False
        one.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            raised = caught
            yield found
    finally:
        for one, level, handlers, propagate in before:
            one.handlers, one.propagate = handlers, propagate
            one.setLevel(level)
        found += [str(w.message) for w in raised if not issubclass(w.category, OF_CODE)]
        lines = dict.fromkeys(" ".join(COLOUR.sub("", words).split()) for words in found)
        found[:] = [line for line in lines if not any(words in line for words in SAYS_NOTHING)]


class _Ear(logging.Handler):
    """Keeps the words of warnings and errors."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.found = found

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())
