"""Pictures with captions, from a folder, webdataset shards or a Hugging Face dataset.

A source is read once, from beginning to end, and only its bytes: what is damaged shows itself when
a picture is decoded, and is skipped, counted and named (see `hypersd.encoded`).
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from hypersd import image_folder, shards
from hypersd.captioned import SUFFIXES, CaptionedPicture, captioned
from hypersd.errors import UsageError, brief, listed
from hypersd.validation import Count, read


@dataclass(frozen=True)
class PictureSource:
    """where: for messages.  stamp: changes when the data does.  samples: reads from the start."""

    where: str
    stamp: str
    samples: Callable[[], Iterator[CaptionedPicture]]


@dataclass(frozen=True, kw_only=True)
class PictureData:
    """What a recipe's `data` say of any source.

    n: at most so many pictures (default all).  size: their side in pixels (default: what the base
    draws).
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


def _folder(data: FolderData) -> PictureSource:
    folder = Path(data.folder)
    paths = image_folder.pictures_of(folder)
    if not paths:
        raise UsageError(f"recipe, data.folder={data.folder}: no pictures ({', '.join(SUFFIXES)})")
    stamp = json.dumps([[str(p.relative_to(folder)), p.stat().st_size] for p in paths])
    return PictureSource(
        f"data.folder={data.folder}", stamp, lambda: image_folder.samples(folder, paths)
    )


def _webdataset(data: ShardData) -> PictureSource:
    paths = [Path(p) for p in sorted(glob.glob(data.webdataset))]
    if not paths:
        raise UsageError(f"recipe, data.webdataset={data.webdataset}: no such shards")
    stamp = json.dumps([[path.name, path.stat().st_size] for path in paths])
    return PictureSource(
        f"data.webdataset={data.webdataset}",
        stamp,
        lambda: chain.from_iterable(map(shards.samples, paths)),
    )


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
        read = datasets.load_dataset(name, split=split, streaming=True)
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

    version = getattr(read.info, "version", None)
    stamp = json.dumps([name, split, image, caption, str(version), read.info.download_checksums])
    return PictureSource(where, stamp, samples)


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
