"""Pictures with captions, from a folder, webdataset shards or a Hugging Face dataset.

A source is read once, from beginning to end, and only its bytes: what is damaged shows itself when
a picture is decoded, and is skipped, counted and named (see `hypersd.encoded`).
"""

from __future__ import annotations

import glob
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypersd.errors import UsageError
from hypersd.validation import Count, read

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
CAPTIONS = (".txt", ".caption")


@dataclass(frozen=True)
class CaptionedPicture:
    """One picture as it is stored, and its caption or None."""

    name: str
    image: bytes
    caption: str | None


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
    """Pictures of a folder and those below it, captions in NAME.txt or in metadata.jsonl
    ({"file_name", "text"} a line, as in Hugging Face's image folders)."""
    folder = Path(data.folder)
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise UsageError(f"recipe, data.folder={data.folder}: no pictures ({', '.join(SUFFIXES)})")
    known = _metadata(folder / "metadata.jsonl")

    def samples() -> Iterator[CaptionedPicture]:
        for path in paths:
            name = path.relative_to(folder).as_posix()
            yield CaptionedPicture(name, path.read_bytes(), known.get(name) or _beside(path))

    stamp = json.dumps([[str(p.relative_to(folder)), p.stat().st_size] for p in paths])
    return PictureSource(f"data.folder={data.folder}", stamp, samples)


def _beside(path: Path) -> str | None:
    found = next((p for s in CAPTIONS if (p := path.with_suffix(s)).is_file()), None)
    return None if found is None else found.read_text(errors="replace").strip()


def _metadata(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        return {row["file_name"]: str(row["text"]) for row in rows if row.get("text")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f'{path}: {error}; valid: {{"file_name": ..., "text": ...}}') from None


def _webdataset(data: ShardData) -> PictureSource:
    """Tar files in webdataset's form: KEY.jpg and KEY.txt (or "caption" in KEY.json), together."""
    paths = [Path(p) for p in sorted(glob.glob(data.webdataset))]
    if not paths:
        raise UsageError(f"recipe, data.webdataset={data.webdataset}: no such shards")

    def samples() -> Iterator[CaptionedPicture]:
        for path in paths:
            yield from _shard(path)

    stamp = json.dumps([[path.name, path.stat().st_size] for path in paths])
    return PictureSource(f"data.webdataset={data.webdataset}", stamp, samples)


def _shard(path: Path) -> Iterator[CaptionedPicture]:
    """The samples of one shard: runs of members of one key. A torn shard ends where it is torn."""
    key, parts = "", dict[str, bytes]()
    try:
        with tarfile.open(path) as shard:
            for member in shard:
                if not member.isfile():
                    continue
                stem, _, suffix = member.name.rpartition("/")[2].partition(".")
                name = f"{path.name}/{stem}"
                if name != key and parts:
                    yield _together(key, parts)
                    parts = {}
                file = shard.extractfile(member)
                key, parts[f".{suffix.lower()}"] = name, b"" if file is None else file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        yield CaptionedPicture(f"{path.name} ({error})", b"", "")
        return
    if parts:
        yield _together(key, parts)


def _together(key: str, parts: dict[str, bytes]) -> CaptionedPicture:
    image = next((parts[s] for s in SUFFIXES if s in parts), b"")
    text = next((parts[s] for s in CAPTIONS if s in parts), None)
    if text is not None:
        return CaptionedPicture(key, image, text.decode(errors="replace").strip())
    try:
        return CaptionedPicture(key, image, json.loads(parts[".json"])["caption"])
    except (KeyError, ValueError, TypeError):
        return CaptionedPicture(key, image, None)


def _dataset(data: HubData) -> PictureSource:
    """A Hugging Face dataset, by name or folder, streamed: `image` and `caption` name its columns
    (default: image, text); a caption may be a list, of which the first is taken."""
    try:
        import datasets  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise UsageError("recipe, data.dataset: pip install datasets") from None
    name, split, image, caption = data.dataset, data.split, data.image, data.caption
    where = f"data.dataset={name}"
    try:
        read = datasets.load_dataset(name, split=split, streaming=True)
        read = read.cast_column(image, datasets.Image(decode=False))
    except Exception as error:  # its loader raises many kinds
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(f"recipe, {where}: {line}") from None

    def samples() -> Iterator[CaptionedPicture]:
        for i, row in enumerate(read):
            text = row.get(caption)
            text = text[0] if isinstance(text, list) and text else text
            yield CaptionedPicture(f"{name}[{i}]", _stored(row[image]), text and str(text))

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
