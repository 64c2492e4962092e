"""Picture files by prompt number: found, checked, read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError, brief

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def image_files(folder: Path) -> list[Path]:
    """All pictures named by a number in a folder, ascending. Raises OSError."""
    return [folder / name for name in sorted(os.listdir(folder)) if _is_numbered(name)]


def numbered_pictures(folder: Path) -> dict[int, Path]:
    """The pictures of a folder by their number; empty where it cannot be read."""
    try:
        return {int(path.stem): path for path in image_files(folder)}
    except OSError:
        return {}


def _is_numbered(name: str) -> bool:
    stem, suffix = os.path.splitext(name)
    return suffix.lower() in IMAGE_SUFFIXES and stem.isascii() and stem.isdecimal()


def image_file(folder: Path, index: int) -> Path | None:
    """The picture of a prompt in a folder of images, `<index:05d>.png|jpg|jpeg|webp`, or None."""
    candidates = (folder / f"{index:05d}{suffix}" for suffix in IMAGE_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def read_picture(folder: Path, index: int, size: int) -> NDArray[np.uint8]:
    """[size, size, 3] uint8. Raises UsageError: missing, unreadable, or of another size."""
    from PIL import Image

    path = image_file(folder, index)
    if path is None:
        raise UsageError(f"images={folder}: {index:05d}.png (or .jpg, .jpeg, .webp) is missing")
    try:
        verify(path)
        with Image.open(path) as image:
            picture = np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow raises many kinds for a damaged file
        words = brief(error, 120)
        raise UsageError(f"images={folder}: {path.name} is unreadable ({words})") from None
    if picture.shape[:2] != (size, size):
        height, width = picture.shape[:2]
        raise UsageError(
            f"images={folder}: {path.name} is {width}x{height}, "
            f"the suite's images are {size}x{size}"
        )
    return picture


def photographs(folder: Path, size: int, indices: Sequence[int]) -> NDArray[np.uint8]:
    """[B, size, size, 3]: pictures of any size, the shorter side resized (bicubic), the middle.

    Raises UsageError for one that is missing or unreadable.
    """
    from PIL import Image, ImageOps

    made = []
    for index in indices:
        path = image_file(folder, index)
        try:
            if path is None:
                raise FileNotFoundError("is missing")
            with Image.open(path) as image:
                square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
        except Exception as error:  # Pillow raises many kinds for a damaged file
            raise UsageError(f"images={folder}: picture {index:05d}: {brief(error, 120)}") from None
        made.append(np.asarray(square))
    return np.stack(made)


def verify(path: Path) -> None:
    """Raise whatever Pillow raises for a damaged picture: a part of a PNG whose checksum is wrong
    (it might be decoded all the same), or another file that does not decode."""
    from PIL import Image

    with Image.open(path) as image:
        if image.format == "PNG":
            image.verify()
        else:
            image.load()


def damage(path: Path) -> str | None:
    """What is wrong with a picture file by `verify`, or None."""
    try:
        verify(path)
    except Exception as error:  # Pillow raises many kinds for a damaged file
        return brief(error, 120)
    return None
