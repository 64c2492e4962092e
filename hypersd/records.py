"""A user's text files: decoded, split into lines, read as CSV or JSON, each row with its line
number.

Errors are ValueErrors of one clause that names the line; the caller adds the file.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hypersd.errors import listed

SEPARATORS = (",", ";", "\t")  # of a .csv file: spreadsheets write one of them by their country
QUOTES = (
    "a field that begins with a quotation mark ends with one, and those inside are doubled; "
    "where they are text, write a .txt or .jsonl file"
)


@dataclass(frozen=True)
class Table:
    """Names of columns in line `number`, and rows of as many cells with the line each begins in."""

    number: int
    columns: list[str]
    rows: list[tuple[int, list[str]]]


def decoded(held: bytes) -> str:
    """The text of a file in UTF-8, or in UTF-16 where it begins with that byte order mark.

    Raises ValueError for other bytes, and for NUL, which says that it is of yet another encoding.
    """
    wide = held.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = held.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + held.count(b"\n", 0, error.start)
        name = "UTF-16" if wide else "UTF-8"
        raise ValueError(
            f"not {name} (byte {error.start}, line {line}); save it as UTF-8"
        ) from None
    if "\0" in text:
        line = 1 + text.count("\n", 0, text.index("\0"))
        raise ValueError(f"line {line} holds a NUL character; save it as UTF-8")
    return text


def check_writable(text: str) -> None:
    """Raise ValueError for half of a surrogate pair, which JSON may hold and no file can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a surrogate pair") from None


def lines(text: str) -> list[str]:
    """Lines without their ends \\n, \\r\\n or \\r; `splitlines` would cut at U+2028, too.

    Blank lines at the end of a file are none.
    """
    found = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while found and not found[-1].strip():
        found.pop()
    return found


def table(text: str, separator: str | None = None, *, quoted: bool = True) -> Table:
    """A file whose first line names its columns, separated and quoted as by Python's `csv`.

    separator: by default the first of SEPARATORS that is in the first line; one that a spreadsheet
    names above it (`sep=;`) goes before both.  quoted: otherwise quotation marks are text.
    A blank line is a row of empty cells; at the end it is none.
    Raises ValueError for quotation marks that do not fit, and rows of more or fewer cells.
    """
    told = re.match(r"sep=([,;\t|])(\r\n|\r|\n)", text)
    text, above = (text[told.end() :], 1) if told else (text, 0)
    chosen = told[1] if told else separator or _separator(text)
    found = [(above + number, cells) for number, cells in _cells(text, chosen, quoted)]
    while found and not found[-1][1]:
        found.pop()
    (first, columns), *rows = found or [(1, [])]
    rows = [(number, cells or [""] * len(columns)) for number, cells in rows]
    wrong = [f"line {n} has {len(cells)}" for n, cells in rows if len(cells) != len(columns)]
    if wrong:
        raise ValueError(
            f"line {first} names {len(columns)} columns, but {listed(wrong)}; a cell that "
            "holds the separator is written in quotation marks"
        )
    return Table(first, columns, rows)


def _separator(text: str) -> str:
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    return next((one for one in SEPARATORS if one in first), SEPARATORS[0])


def _cells(text: str, separator: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Rows, empty for a blank line, with the number of the line that each begins in."""
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    source = io.StringIO(text, newline="")
    rows = csv.reader(source, delimiter=separator, quoting=quoting, strict=True)
    number = 1
    try:
        for cells in rows:
            yield number, cells
            number = rows.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {number} {_words(error)}") from None


def _words(error: csv.Error) -> str:
    if "end of data" in str(error):
        return f"has a quotation mark that is never closed; {QUOTES}"
    if "expected after" in str(error):
        return f"has text after a closing quotation mark; {QUOTES}"
    if "field limit" in str(error):
        return f"has a cell of above {csv.field_size_limit():,} characters; {QUOTES}"
    return f"is no CSV ({error})"


def column(names: Sequence[str], valid: Sequence[str]) -> int:
    """The position among names of the first of `valid` that exists, upper or lower case.

    Raises ValueError if none exists, or it exists twice.
    """
    lower = [name.lower() for name in names]
    found = next((one for one in valid if one in lower), None)
    if found is None:
        there = listed([repr(name[:40]) for name in names])
        raise ValueError(f"has no column {', '.join(map(repr, valid))}; it has {there}")
    if lower.count(found) > 1:
        raise ValueError(f"has two columns {found!r}")
    return lower.index(found)


def json_value(text: str) -> Any:
    """The parsed JSON. Raises ValueError, also for an object that has a key twice."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON (line {error.lineno})") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def json_object(line: str) -> dict[str, Any]:
    """A JSON object on one line. Raises ValueError."""
    try:
        held = json.loads(line, object_pairs_hook=_object)
    except json.JSONDecodeError:
        held = None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(held, dict):
        raise ValueError("is not a JSON object")
    return held


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"has the key {name[:40]!r} twice")
        made[name] = value
    return made
