"""Webdataset shards: tar files in which neighbouring members with one key make a sample.

A key is a member's path up to the first dot of its file name, as in webdataset's own reader.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from hypersd import records
from hypersd.captioned import CAPTIONS, CaptionedPicture, captioned
from hypersd.errors import UsageError, os_words
from hypersd.file_kinds import TAR, fault
from hypersd.picture_files import SUFFIXES

MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")
Parts = dict[str, bytes]  # of a sample, by suffix


def samples(path: Path) -> Iterator[CaptionedPicture]:
    """The samples of one shard: KEY.jpg and KEY.txt or .caption, or "caption" in KEY.json.

    A truncated shard ends where it is cut. Raises UsageError for a sample that has a suffix twice
    or two pictures, or whose members do not stand together.
    """
    seen = set[str]()
    parts, key = Parts(), ""
    try:
        with tarfile.open(path) as shard:
            for this, suffix, held in _members(shard):
                if this != key:
                    if parts:
                        yield _together(path, key, parts)
                    if this in seen:
                        raise _refused(path, this, "has members apart from each other; valid: "
                                       "together, as tar --sort=name packs them")  # fmt: skip
                    seen.add(this)
                    parts, key = Parts(), this
                if suffix in parts:
                    raise _refused(path, key, f"has {suffix} twice")
                parts[suffix] = held
    except (tarfile.TarError, OSError, EOFError) as error:
        yield CaptionedPicture(path.name, b"", None, _torn(path, error))
        return
    if parts:
        yield _together(path, key, parts)


def _torn(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os_words(error)
    return fault(path, TAR, "is cut off or damaged")


def _members(shard: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    """Key, suffix and content (None of a link). Hidden members and those without a suffix belong to
    no sample."""
    for member in shard:
        parted = MEMBER.fullmatch(member.name)
        if parted is None or member.isdir():
            continue
        file = shard.extractfile(member) if member.isfile() else None
        yield parted[1], f".{parted[2].lower()}", b"" if file is None else file.read()


def _refused(path: Path, key: str, words: str) -> UsageError:
    return UsageError(f"recipe, data.webdataset: {path}: sample {key} {words}")


def _together(path: Path, key: str, parts: Parts) -> CaptionedPicture:
    name, pictures = f"{path.name}/{key}", sorted(s for s in SUFFIXES if s in parts)
    if len(pictures) > 1:
        raise _refused(
            path, key, f"has several pictures ({', '.join(sorted(pictures))}); valid: one"
        )
    if not pictures:
        return CaptionedPicture(name, b"", None, f"no picture, but {', '.join(sorted(parts))}")
    captions: dict[str, object] = {s: parts[s] for s in CAPTIONS if s in parts}
    if ".json" in parts:
        try:
            captions[".json"] = _in_json(parts[".json"])
        except ValueError as error:
            if not captions:
                return CaptionedPicture(name, parts[pictures[0]], None, f".json: {error}")
    return captioned(name, parts[pictures[0]], captions)


def _in_json(held: bytes) -> str | None:
    found = records.json_object(records.decoded(held)).get("caption")
    if not isinstance(found, str | None):
        raise ValueError("has a caption that is no text")
    return found
