"""Picture files by prompt number: found, checked, read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError, brief
from hypersd.picture_files import is_other_picture, is_picture

if TYPE_CHECKING:
    from hypersd.picture_reader import Decoded


def image_files(folder: Path) -> list[Path]:
    """All pictures named by a number in a folder, ascending: 1.png, 00001.JPG and 000001.webp are
    all number 1.

    Raises OSError, and UsageError for two files of one number.
    """
    found: dict[int, Path] = {}
    with os.scandir(folder) as entries:  # says what is a file without a call for each
        names = sorted(entry.name for entry in entries if entry.is_file())
    for path in map(folder.joinpath, names):
        if not _is_numbered(path):
            continue
        other = found.setdefault(int(path.stem), path)
        if other is not path:
            raise UsageError(f"{folder}: {other.name} and {path.name} are two pictures of one "
                             "prompt; valid: one of them")  # fmt: skip
    return [found[number] for number in sorted(found)]


def numbered_pictures(folder: Path) -> dict[int, Path]:
    """The pictures of a folder by their number; empty where it cannot be read.

    Raises UsageError for two files of one number.
    """
    try:
        return {int(path.stem): path for path in image_files(folder)}
    except OSError:
        return {}


def unread_pictures(folder: Path) -> list[str]:
    """Names of a folder's files that look like pictures and are none of `image_files`: not named by
    a number, or of another format."""
    pictures = (path for path in folder.iterdir() if is_picture(path) or is_other_picture(path))
    return sorted(path.name for path in pictures if not _is_numbered(path))


def _is_numbered(path: Path) -> bool:
    return is_picture(path) and path.stem.isascii() and path.stem.isdecimal()


def read_picture(path: Path, size: int) -> Decoded:
    """size x size pixels. Raises UsageError: unreadable, or of another size."""
    from hypersd.picture_reader import read

    try:
        found = read(path)
    except UsageError as error:
        raise UsageError(f"images={path.parent}: {path.name} {error}") from None
    if found.image.size != (size, size):
        width, height = found.image.size
        raise UsageError(f"images={path.parent}: {path.name} is {width}x{height}, "
                         f"the suite's images are {size}x{size}")  # fmt: skip
    return found


def photograph(path: Path, size: int) -> Decoded:
    """A picture of any size, its shorter side resized (bicubic) to `size`, the middle.

    Raises UsageError for one that is unreadable.
    """
    from PIL import Image, ImageOps

    from hypersd.picture_reader import Decoded, read

    try:
        found = read(path)
    except UsageError as error:
        raise UsageError(f"images={path.parent}: {path.name} {error}") from None
    square = ImageOps.fit(found.image, (size, size), Image.Resampling.BICUBIC)
    return Decoded(square, found.notes)


def by_note(pictures: Sequence[Decoded]) -> dict[str, list[int]]:
    """Conversions of pictures, with the positions of those pictures."""
    found: dict[str, list[int]] = {}
    for place, picture in enumerate(pictures):
        for note in picture.notes:
            found.setdefault(note, []).append(place)
    return found


def damage(path: Path) -> str | None:
    """The damage of a PNG by its checksums alone, or None; it is not decoded."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.verify()
    except Exception as error:  # Pillow raises many kinds for a damaged file
        return brief(error, 120)
    return None
