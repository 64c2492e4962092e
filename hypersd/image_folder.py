"""A folder of pictures and those below it, captions beside them or in metadata files."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

from hypersd import records
from hypersd.captioned import CAPTIONS, CaptionedPicture, captioned
from hypersd.errors import UsageError, listed, os_words
from hypersd.picture_files import is_other_picture, is_picture

METADATA = ("metadata.jsonl", "metadata.csv")
Row = tuple[int, str, str | None]  # line, file_name, text


def pictures_of(folder: Path) -> list[Path]:
    """The pictures of a folder and those below it, in order."""
    return sorted(p for p in folder.rglob("*") if is_picture(p) and not p.is_dir())


def others_of(folder: Path) -> list[str]:
    """Pictures of other formats there, which are not taken."""
    others = (p for p in folder.rglob("*") if is_other_picture(p) and not p.is_dir())
    return sorted(p.relative_to(folder).as_posix() for p in others)


def files_of(folder: Path) -> list[Path]:
    """All that `samples` reads: pictures, captions beside them, metadata files."""
    pictures = pictures_of(folder)
    captions = (p.with_suffix(s) for p in pictures for s in CAPTIONS)
    metadata = (path for name in METADATA for path in folder.rglob(name))
    return [*pictures, *(path for path in {*captions, *metadata} if path.is_file())]


def samples(folder: Path, pictures: Sequence[Path]) -> Iterator[CaptionedPicture]:
    """Pictures with captions from NAME.txt, NAME.caption and metadata files as of Hugging Face's
    image folders: columns `file_name`, relative to the file's folder, and `text`.

    Raises UsageError for a metadata file that is damaged, lacks a column, or names a picture that
    is not there or twice.
    """
    names = [path.relative_to(folder).as_posix() for path in pictures]
    known = _metadata(folder, set(names))
    for name, path in zip(names, pictures, strict=True):
        try:
            beside = {s: p.read_bytes() for s in CAPTIONS if (p := path.with_suffix(s)).is_file()}
            yield captioned(name, path.read_bytes(), {**beside, **known.get(name, {})})
        except OSError as error:
            yield CaptionedPicture(name, b"", None, os_words(error))


def _metadata(folder: Path, names: set[str]) -> dict[str, dict[str, str | None]]:
    """Captions of pictures by the name of the file that holds them."""
    found: dict[str, dict[str, str | None]] = {}
    for path in sorted(p for name in METADATA for p in folder.rglob(name)):
        base = path.relative_to(folder).parent.as_posix()
        absent, twice = [], []
        for line, file_name, text in _rows(path):
            name = posixpath.normpath(posixpath.join(base, file_name))
            if name not in names:
                absent.append(f"line {line} {file_name}")
            elif name in found:
                twice.append(f"line {line} {file_name}")
            found[name] = {path.name: text}
        if absent:
            raise UsageError(f"{path}: names pictures that are not there ({listed(absent)})")
        if twice:
            raise UsageError(f"{path}: names pictures once more ({listed(twice)})")
    return found


def _rows(path: Path) -> list[Row]:
    try:
        content = records.decoded(path.read_bytes())
        return _csv(content) if path.suffix == ".csv" else _jsonl(content)
    except OSError as error:
        raise UsageError(f"{path}: {os_words(error)}") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}; valid: columns file_name and text") from None


def _csv(content: str) -> list[Row]:
    table = records.table(content)
    try:
        name, text = (records.column(table.columns, [one]) for one in ("file_name", "text"))
    except ValueError as error:
        raise ValueError(f"line {table.number} {error}") from None
    return [(number, cells[name], cells[text]) for number, cells in table.rows]


def _jsonl(content: str) -> list[Row]:
    return [
        _row(number, line) for number, line in enumerate(records.lines(content), 1) if line.strip()
    ]


def _row(number: int, line: str) -> Row:
    try:
        held = records.json_object(line)
        names = list(held)
        name, text = (held[names[records.column(names, [c])]] for c in ("file_name", "text"))
        if not isinstance(name, str) or not isinstance(text, str | None):
            raise ValueError("has a file_name or text that is no text")
    except ValueError as error:
        raise ValueError(f"line {number} {error}") from None
    return number, name, text
