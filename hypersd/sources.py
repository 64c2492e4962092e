"""Pictures with captions, from a folder, webdataset shards or a Hugging Face dataset.

A source is read once, from beginning to end, and only its bytes: what is damaged shows itself when
a picture is decoded, and is skipped, counted and named (see `hypersd.encoded`).
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from hypersd import image_folder, shards
from hypersd.captioned import CaptionedPicture, captioned
from hypersd.errors import UsageError, brief, listed
from hypersd.hashes import Hashes, digest
from hypersd.picture_files import SUFFIXES
from hypersd.validation import Count, read


@dataclass(frozen=True)
class PictureSource:
    """where: for messages. samples: reads from the start. beside: what decides the samples in
    addition to the files that `stamp` hashes. others: pictures in formats that are not read."""

    where: str
    samples: Callable[[], Iterator[CaptionedPicture]]
    beside: str = ""
    others: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class PictureData:
    """The keys of a recipe's `data` that all sources have.

    n: the largest number of pictures (default all). size: their side in pixels (default: the
    base's).
    """

    n: Count | None = None
    size: Count | None = None


@dataclass(frozen=True, kw_only=True)
class FolderData(PictureData):
    """folder: of pictures, and those below it."""

    folder: str


@dataclass(frozen=True, kw_only=True)
class ShardData(PictureData):
    """webdataset: a pattern of tar files."""

    webdataset: str


@dataclass(frozen=True, kw_only=True)
class HubData(PictureData):
    """dataset: a Hugging Face dataset, by name or folder.  image, caption: its columns."""

    dataset: str
    split: str = "train"
    image: str = "image"
    caption: str = "text"


def read_data(data: Mapping[str, Any]) -> FolderData | ShardData | HubData:
    """A recipe's `data` that name a source. Raises UsageError for what does not fit."""
    kind = next((key for key in SOURCES if key in data), None)
    if kind is None:
        raise UsageError(f"recipe, data={dict(data)}; valid: one of {', '.join(SOURCES)}")
    return read(SOURCES[kind], data, "data", where="recipe")


def find(data: FolderData | ShardData | HubData) -> PictureSource:
    """The source of a recipe's `data`. Raises UsageError where it is missing or has no pictures."""
    if isinstance(data, FolderData):
        return _folder(data)
    return _webdataset(data) if isinstance(data, ShardData) else _dataset(data)


def stamp(data: FolderData | ShardData | HubData, hashes: Hashes) -> str:
    """A hash of the content of all files on this machine that a source reads; "" where there are
    none.

    Raises UsageError for a file that cannot be read, or is being written to.
    """
    own = hashes.apart(str(_place(data).absolute()))
    found = {name: own.file(path) for name, path in _files(data).items()}
    own.remember()
    return digest(found) if found else ""


def _place(data: FolderData | ShardData | HubData) -> Path:
    """The folder of the source, or a pattern of paths."""
    if isinstance(data, FolderData):
        return Path(data.folder)
    return Path(data.webdataset if isinstance(data, ShardData) else data.dataset)


def _files(data: FolderData | ShardData | HubData) -> dict[str, Path]:
    """The files on this machine that a source reads, by the name that tells them apart."""
    if isinstance(data, ShardData):
        return {f"{number} {path.name}": path for number, path in enumerate(_shards(data))}
    folder = _place(data)
    paths = folder.rglob("*") if isinstance(data, HubData) else image_folder.files_of(folder)
    return {p.relative_to(folder).as_posix(): p for p in sorted(paths) if p.is_file()}


def _folder(data: FolderData) -> PictureSource:
    folder = Path(data.folder)
    paths = image_folder.pictures_of(folder)
    if not paths:
        raise UsageError(f"recipe, data.folder={data.folder}: no pictures ({', '.join(SUFFIXES)})")
    return PictureSource(
        f"data.folder={data.folder}",
        lambda: image_folder.samples(folder, paths),
        others=image_folder.others_of(folder),
    )


def _webdataset(data: ShardData) -> PictureSource:
    paths = _shards(data)
    if not paths:
        raise UsageError(f"recipe, data.webdataset={data.webdataset}: no such shards")
    return PictureSource(
        f"data.webdataset={data.webdataset}",
        lambda: chain.from_iterable(map(shards.samples, paths)),
    )


def _shards(data: ShardData) -> list[Path]:
    return [Path(path) for path in sorted(glob.glob(data.webdataset))]


def _dataset(data: HubData) -> PictureSource:
    """A Hugging Face dataset, by name or folder, streamed; a caption may be a list, of which the
    first is taken."""
    try:
        import datasets  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise UsageError("recipe, data.dataset: pip install datasets") from None
    name, split, image, caption = data.dataset, data.split, data.image, data.caption
    where = f"data.dataset={name}"
    try:
        builder = datasets.load_dataset_builder(name)
        read = builder.as_streaming_dataset(split=split)
        columns = read.column_names or list(next(iter(read), {}))
        missing = [column for column in (image, caption) if column not in columns]
        if not missing:
            read = read.cast_column(image, datasets.Image(decode=False))
    except Exception as error:  # its loader raises many kinds
        raise UsageError(f"recipe, {where}: {brief(error)}") from None
    if missing:
        raise UsageError(
            f"recipe, {where}: has no column {' and '.join(map(repr, missing))}; "
            f"data.image and data.caption name two of {listed(list(map(repr, columns)), 20)}"
        )

    def samples() -> Iterator[CaptionedPicture]:
        for i, row in enumerate(read):
            text = row[caption]
            text = next(iter(text), None) if isinstance(text, list) else text
            try:
                yield captioned(f"{name}[{i}]", _stored(row[image]), {caption: text})
            except OSError as error:
                yield CaptionedPicture(f"{name}[{i}]", b"", None, brief(error))

    there = None if Path(name).is_dir() else _elsewhere(builder)
    return PictureSource(where, samples, json.dumps([split, image, caption, there], default=str))


def _elsewhere(builder: Any) -> list[Any]:
    """What identifies a data set's remote files: addresses, which name the commit on the hub, and
    the state that their hosts report."""
    files = builder.config.data_files or {}
    told = {str(split): [list(some), some.origin_metadata] for split, some in files.items()}
    return [builder.hash, str(builder.config.version), told]


def _stored(found: Any) -> bytes:
    if not isinstance(found, dict):
        return b""
    if found.get("bytes"):
        return bytes(found["bytes"])
    return Path(found["path"]).read_bytes() if found.get("path") else b""


SOURCES: dict[str, type[FolderData | ShardData | HubData]] = {
    "folder": FolderData,
    "webdataset": ShardData,
    "dataset": HubData,
}
"""By the key of a recipe's `data` that says where pictures come from, what else belongs there."""
