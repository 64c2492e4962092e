"""Prompt sets, by name or from a file, pinned by a hash of their texts."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.errors import UsageError, nearest

SETS = {"shapes/test": "test", "shapes/validation": "validation"}
COLUMNS = ("prompt", "caption", "text")
SUFFIXES = (".txt", ".tsv", ".jsonl")


@dataclass(frozen=True)
class PromptSet:
    """Texts in a fixed order.

    split: the world's split whose scene `index` prompt `index` tells of, or None for a file.
    """

    name: str
    texts: tuple[str, ...]
    split: str | None = None

    @cached_property
    def revision(self) -> str:
        """sha256 of the texts."""
        return hashlib.sha256("\n".join(self.texts).encode()).hexdigest()[:16]


def load(name: str, n: int | None) -> PromptSet:
    """The first n prompts of a named set, or of a .txt, .tsv or .jsonl file (all, where n is None).

    A .txt file has one prompt per line; the others have a column `prompt`, `caption` or `text`.
    Raises UsageError for an unknown set, a file that cannot be read, is not UTF-8, is empty or
    has fewer than n prompts.
    """
    if name in SETS:
        return PromptSet(name, _captions(SETS[name], 1000 if n is None else n), SETS[name])
    path = Path(name)
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"prompts.set={name}: no such set; {nearest(name, SETS)}, or a file "
            f"({', '.join(SUFFIXES)})"
        )
    texts = _from_file(path)
    if n is not None and len(texts) < n:
        raise UsageError(f"prompts.n={n}: {path} has only {len(texts)} prompts")
    return PromptSet(name, tuple(texts[:n]))


def _captions(split: str, n: int) -> tuple[str, ...]:
    from hypersd.shapes.captions import caption
    from hypersd.shapes.scenes import sample_scene

    return tuple(caption(sample_scene(split, index)) for index in range(n))


def _from_file(path: Path) -> list[str]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"prompts.set={path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"prompts.set={path}: not UTF-8 (byte {error.start})") from None
    readers = {".txt": _txt, ".tsv": _tsv, ".jsonl": _jsonl}
    try:
        texts = [text.strip() for text in readers[path.suffix](content)]
    except ValueError as error:
        raise UsageError(f"prompts.set={path}: {error}") from None
    texts = [text for text in texts if text]
    if not texts:
        raise UsageError(f"prompts.set={path}: holds no prompt")
    return texts


def _txt(content: str) -> list[str]:
    return content.splitlines()


def _tsv(content: str) -> list[str]:
    rows = list(csv.DictReader(io.StringIO(content), delimiter="\t", quoting=csv.QUOTE_NONE))
    column = _column(list(rows[0]), 1) if rows else ""
    return [row[column] or "" for row in rows]


def _jsonl(content: str) -> list[str]:
    texts = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        texts.append(_jsonl_text(number, line))
    return texts


def _jsonl_text(number: int, line: str) -> str:
    try:
        row = dict(json.loads(line))
    except (json.JSONDecodeError, TypeError, ValueError):
        raise ValueError(f"line {number} is not a JSON object") from None
    return str(row[_column(list(row), number)])


def _column(names: list[str], line: int) -> str:
    for column in COLUMNS:
        if column in names:
            return column
    raise ValueError(f"line {line} has no column {', '.join(map(repr, COLUMNS))}")
