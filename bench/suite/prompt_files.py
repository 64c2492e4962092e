"""Prompt files (.txt, .csv, .tsv, .json, .jsonl): texts unchanged, none left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError, listed, os_words
from hypersd import records
from hypersd.file_kinds import BEGINNING, TEXT, instead

COLUMNS = ("prompt", "caption", "text")
MOST_BYTES = 256 * 2**20  # COCO's captions of all its training pictures are 90 MB
Placed = tuple[str, str]  # where in the file, and the text


def read(path: Path, *, quoted: bool = True) -> list[str]:
    """The prompts of a file in its order, with the white space around them.

    A .txt file has one a line; a .json file is a list of texts or objects, or COCO's annotations
    (the first caption of each picture, white space in it made single blanks); objects and the lines
    of .csv and .tsv files have a column `prompt`, `caption` or `text`, the first of these that
    exists.  quoted: whether quotation marks around a cell of a .tsv are none of its text. Raises
    UsageError for a file that cannot be read, is above 256 MiB, is not UTF-8 or UTF-16, does not
    have this form, or holds no prompt or an empty one.
    """
    try:
        placed = _placed(path, records.decoded(_content(path)), quoted)
        records.check_writable("".join(text for _, text in placed))
    except OSError as error:
        raise UsageError(f"prompts.set={path}: {os_words(error)}") from None
    except ValueError as error:
        raise UsageError(f"prompts.set={path}: {error}") from None
    empty = [where for where, text in placed if not text.strip()]
    if not placed:
        raise UsageError(f"prompts.set={path}: holds no prompt")
    if empty:
        many = f"{len(empty):,} empty prompts" if len(empty) > 1 else "an empty prompt"
        raise UsageError(f"prompts.set={path}: holds {many} ({listed(empty)}); valid: some text")
    return [text for _, text in placed]


def cells(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """Some columns of a .csv or .tsv file, row by row.

    Raises UsageError for a file that cannot be read, or a missing column.
    """
    try:
        table = records.table(records.decoded(_content(path)), SEPARATORS[path.suffix.lower()])
        places = [records.column(table.columns, (name,)) for name in columns]
    except OSError as error:
        raise UsageError(f"prompts.set={path}: {os_words(error)}") from None
    except ValueError as error:
        raise UsageError(f"prompts.set={path}: {error}") from None
    return [[row[place] for place in places] for _, row in table.rows]


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        too_large = os.fstat(file.fileno()).st_size > MOST_BYTES
        held = b"" if too_large else file.read(MOST_BYTES + 1)  # a pipe has no size
    if too_large or len(held) > MOST_BYTES:
        raise ValueError(f"is above {MOST_BYTES // 2**20} MiB; a prompt file is at most as large")
    if held and (said := instead(held[:BEGINNING], TEXT)):
        raise ValueError(said)
    return held


def _placed(path: Path, content: str, quoted: bool) -> list[Placed]:
    suffix = path.suffix.lower()
    if suffix in SEPARATORS:
        return _table(records.table(content, SEPARATORS[suffix], quoted=quoted))
    return READERS[suffix](content)


def _txt(content: str) -> list[Placed]:
    found = _lines(content)
    first = found[0][1].lower().split("\t") if found else []
    if len(first) > 1 and not {*COLUMNS}.isdisjoint(first):  # a spreadsheet's "Unicode text"
        raise ValueError("line 1 names columns separated by tabs; valid: the same file as .tsv")
    return found


def _lines(content: str) -> list[Placed]:
    return [(f"line {number}", line) for number, line in enumerate(records.lines(content), 1)]


def _table(table: records.Table) -> list[Placed]:
    if not table.columns:
        return []
    try:
        place = records.column(table.columns, COLUMNS)
    except ValueError as error:
        raise ValueError(f"line {table.number} {error}; it must name the columns") from None
    return [(f"line {number}", cells[place]) for number, cells in table.rows]


def _jsonl(content: str) -> list[Placed]:
    return [(where, _at(where, _line, line)) for where, line in _lines(content)]


def _json(content: str) -> list[Placed]:
    held = records.json_value(content)
    if isinstance(held, dict) and isinstance(held.get("annotations"), list):
        return _coco(held["annotations"], held.get("images"))
    if not isinstance(held, list):
        raise ValueError("holds no list")
    places = (f"item {number}" for number in range(1, len(held) + 1))
    return [(where, _at(where, _text, one)) for where, one in zip(places, held, strict=True)]


def _at(where: str, read: Callable[[Any], str], one: Any) -> str:
    try:
        return read(one)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from None


def _line(line: str) -> str:
    return _text(records.json_object(line)) if line.strip() else ""


def _text(one: Any) -> str:
    if isinstance(one, str):
        return one
    if not isinstance(one, dict):
        raise ValueError("is not a JSON object")
    names = list(one)
    found = one[names[records.column(names, COLUMNS)]]
    if not isinstance(found, str):
        raise ValueError("has a prompt that is no text")
    return found


def _coco(annotations: list[Any], images: Any) -> list[Placed]:
    """One caption per picture, in the order of the pictures' ids: the one with the lowest id."""
    first: dict[int, tuple[int, str]] = {}
    try:
        for one in annotations:
            image, this = one["image_id"], (one["id"], one["caption"])
            first[image] = min(first.get(image, this), this)
        texts = {image: " ".join(text.split()) for image, (_, text) in first.items()}
        texts = {image["id"]: "" for image in images or ()} | texts
        return [(f"image_id {image}", texts[image]) for image in sorted(texts)]
    except (KeyError, TypeError, AttributeError):
        raise ValueError(
            "an annotation has no image_id, id and caption; valid: annotations of captions, as in "
            "captions_val2017.json, not of objects (instances) or keypoints"
        ) from None


READERS = {".txt": _txt, ".json": _json, ".jsonl": _jsonl}
SEPARATORS = {".csv": None, ".tsv": "\t"}
SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".jsonl")
