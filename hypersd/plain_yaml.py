"""Reads YAML of untrusted origin (suites, recipes): plain data and references within the file only.

Tags that would make objects are refused by the safe loader; aliases, because a few lines of them
unfold into gigabytes; omegaconf's functions (`${oc.env:HOME}`), because a report that is passed on
would show what the file reads out of the environment.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypersd.errors import UsageError, brief, os_words
from hypersd.file_kinds import BEGINNING, TEXT, instead
from hypersd.records import decoded

MOST_BYTES = 2**20
_FUNCTION = re.compile(r"\$\{.*:", re.DOTALL)


def load(path: Path, where: str) -> Any:
    """The mapping or list that a file holds, its references `${key}` as they stand.

    where: how the user named the file.  Raises UsageError for a file that cannot be read, is above
    1 MiB, no YAML, or holds a tag, an alias, a function or a value that is no plain data.
    """
    from omegaconf import OmegaConf

    try:
        text = _text(path)
        _refuse_aliases(text)
        # OmegaConf's safe loader: it knows 1e-3 as a number and refuses a key given twice.
        held = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except Exception as error:  # yaml and omegaconf raise many kinds for what is no such file
        raise UsageError(f"{where}: {_why(error)}") from None
    for value in _values(held):
        if isinstance(value, str) and _FUNCTION.search(value):
            raise UsageError(f"{where}: {value[:60]!r} calls a function; ${{key}} refers to a key")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise UsageError(f"{where}: holds a whole number of {value.bit_length()} bits")
    return held


def value(text: str, where: str) -> Any:
    """A value of the command line, parsed as in a file: 1e-3 is a number.

    Raises UsageError for invalid YAML.
    """
    from omegaconf import OmegaConf

    try:
        held = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)
    except Exception as error:  # as above
        raise UsageError(f"{where}={text}: {brief(error)}") from None
    return held["value"] if isinstance(held, dict) else held


def _text(path: Path) -> str:
    with path.open("rb") as file:
        held = file.read(MOST_BYTES + 1)
    if len(held) > MOST_BYTES:
        raise ValueError("is above 1 MiB")
    if said := instead(held[:BEGINNING], TEXT):
        raise ValueError(said)
    return decoded(held)


def _why(error: Exception) -> str:
    import yaml

    if isinstance(error, OSError):
        return os_words(error)
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return brief(error)
    mark = error.problem_mark
    return f"is no YAML at line {mark.line + 1}, column {mark.column + 1} ({error.problem})"


def _refuse_aliases(text: str) -> None:
    import yaml

    if "*" in text and any(isinstance(t, yaml.AliasToken) for t in yaml.scan(text)):
        raise ValueError("holds an alias (*name); write its value out")


def _values(held: Any) -> Iterator[Any]:
    """Everything within that is no mapping and no list, keys too."""
    if not isinstance(held, dict | list):
        yield held
        return
    for inner in [*held, *held.values()] if isinstance(held, dict) else held:
        yield from _values(inner)
