"""Prompt sets, by name or from a file, pinned by a hash of their texts."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.errors import UsageError, nearest
from bench.suite import prompt_sets

SETS = {"shapes/test": "test", "shapes/validation": "validation"}
NAMES = (*SETS, *prompt_sets.SOURCES)
COLUMNS = ("prompt", "caption", "text")
SUFFIXES = (".txt", ".tsv", ".json", ".jsonl")
MOST_BYTES = 256 * 2**20  # COCO's captions of all its training pictures are 90 MB


@dataclass(frozen=True)
class PromptSet:
    """Texts in a fixed order.

    split: the world's split whose scene `index` prompt `index` tells of, or None for others.
    """

    name: str
    texts: tuple[str, ...]
    split: str | None = None

    @cached_property
    def revision(self) -> str:
        """sha256 of the texts."""
        return hashlib.sha256("\n".join(self.texts).encode()).hexdigest()[:16]


def load(name: str, n: int | None, folder: Path) -> PromptSet:
    """The first n prompts of a named set, or of a .txt, .tsv, .json or .jsonl file (all, where n is
    None).

    A .txt file has one prompt per line; a .json file is a list of texts or objects, or COCO's
    annotations (the first caption of each picture); objects and .tsv files have a column `prompt`,
    `caption` or `text`.
    folder: of the published sets that a user has; what is not there is fetched into it.
    Raises UsageError for an unknown set, one that cannot be had or has other texts than were
    pinned, and a file that cannot be read, is above 256 MiB, is not UTF-8, is empty or has fewer
    than n prompts.
    """
    if name in SETS:
        return PromptSet(name, _captions(SETS[name], 1000 if n is None else n), SETS[name])
    if name in prompt_sets.SOURCES:
        return _cut(_published(name, folder), n)
    path = Path(name)
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"prompts.set={name}: no such set; {nearest(name, NAMES)}, or a file "
            f"({', '.join(SUFFIXES)})"
        )
    return _cut(PromptSet(name, tuple(_from_file(path))), n)


def _published(name: str, folder: Path) -> PromptSet:
    """All of a named set. Raises UsageError where its texts are not those that were pinned."""
    source = prompt_sets.SOURCES[name]
    paths = prompt_sets.files(name, folder)
    found = PromptSet(name, tuple(text for path in paths for text in _from_file(path)))
    others = source.revision not in (None, found.revision) or len(found.texts) != source.n
    if others:
        where = ", ".join(map(str, paths))
        raise UsageError(
            f"prompts.set={name}: {where} holds {len(found.texts)} texts of revision "
            f"{found.revision}, expected {source.n} of {source.revision or 'any'}"
        )
    return found


def _cut(whole: PromptSet, n: int | None) -> PromptSet:
    if n is not None and len(whole.texts) < n:
        raise UsageError(f"prompts.n={n}: {whole.name} has only {len(whole.texts)} prompts")
    return PromptSet(whole.name, whole.texts[:n])


def _captions(split: str, n: int) -> tuple[str, ...]:
    from hypersd.shapes.captions import caption
    from hypersd.shapes.scenes import sample_scene

    return tuple(caption(sample_scene(split, index)) for index in range(n))


def _from_file(path: Path) -> list[str]:
    try:
        content = _content(path)
        texts = [text.strip() for text in READERS[path.suffix](content)]
        "".join(texts).encode()  # JSON may hold half a character, which nothing can write
    except OSError as error:
        raise UsageError(f"prompts.set={path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"prompts.set={path}: not UTF-8 (byte {error.start})") from None
    except UnicodeEncodeError:
        raise UsageError(f"prompts.set={path}: holds half a surrogate pair") from None
    except RecursionError:
        raise UsageError(f"prompts.set={path}: nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"prompts.set={path}: {error}") from None
    texts = [text for text in texts if text]
    if not texts:
        raise UsageError(f"prompts.set={path}: holds no prompt")
    return texts


def _content(path: Path) -> str:
    with path.open("rb") as file:
        too_large = os.fstat(file.fileno()).st_size > MOST_BYTES
        held = b"" if too_large else file.read(MOST_BYTES + 1)  # a pipe has no size
    if too_large or len(held) > MOST_BYTES:
        raise ValueError(f"is above {MOST_BYTES // 2**20} MiB; a prompt file is at most as large")
    return held.decode("utf-8-sig")


def _lines(content: str) -> list[str]:
    """Lines end in \\n, \\r\\n or \\r; `splitlines` would cut at U+2028 within a prompt, too."""
    return content.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _tsv(content: str) -> list[str]:
    rows = [line.split("\t") for line in _lines(content) if line]
    place = rows[0].index(_column(rows[0], "line 1")) if rows else 0
    return [row[place] if place < len(row) else "" for row in rows[1:]]


def _json(content: str) -> list[str]:
    try:
        held = json.loads(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON (line {error.lineno})") from None
    if isinstance(held, dict) and isinstance(held.get("annotations"), list):
        return _coco(held["annotations"])
    if not isinstance(held, list):
        raise ValueError("holds no list")
    return [
        item if isinstance(item, str) else _text(item, f"item {number}")
        for number, item in enumerate(held, 1)
    ]


def _coco(annotations: list[Any]) -> list[str]:
    """One caption per picture, in the order of the pictures' ids: the one with the lowest id."""
    first: dict[int, tuple[int, str]] = {}
    try:
        for one in annotations:
            image, this = one["image_id"], (one["id"], one["caption"])
            first[image] = min(first.get(image, this), this)
        return [" ".join(first[image][1].split()) for image in sorted(first)]
    except (KeyError, TypeError, AttributeError):
        raise ValueError("an annotation has no image_id, id and caption") from None


def _jsonl(content: str) -> list[str]:
    texts = []
    for number, line in enumerate(_lines(content), 1):
        if not line.strip():
            continue
        texts.append(_jsonl_text(number, line))
    return texts


def _jsonl_text(number: int, line: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        row = None
    return _text(row, f"line {number}")


def _text(row: Any, where: str) -> str:
    if not isinstance(row, dict):
        raise ValueError(f"{where} is not a JSON object")
    found = row[_column(list(row), where)]
    if not isinstance(found, str):
        raise ValueError(f"{where} has a prompt that is no text")
    return found


def _column(names: list[str], where: str) -> str:
    by_name = {name.lower(): name for name in reversed(names)}
    for column in COLUMNS:
        if column in by_name:
            return by_name[column]
    raise ValueError(f"{where} has no column {', '.join(map(repr, COLUMNS))}")


READERS = {".txt": _lines, ".tsv": _tsv, ".json": _json, ".jsonl": _jsonl}
