"""Pictures: a batch of new ones, and folders of pictures made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError, brief
from bench.files import image_file
from bench.keys import Key


@dataclass(frozen=True)
class Batch:
    """Images [B, H, W, 3] uint8, seconds per stage for the whole batch, and what went wrong.

    broken: positions whose decoded image was not finite (drawn black).  truncated: positions
    whose prompt the text encoder did not read to its end.
    """

    images: NDArray[np.uint8]
    seconds: dict[str, float] = field(default_factory=dict)
    broken: list[int] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)


class Folder:
    """Pictures made elsewhere, `<prompt index:05d>.png|jpg|webp`."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size

    def __call__(self, keys: Sequence[Key]) -> Batch:
        """One picture per key. Raises UsageError for one that is missing or unreadable."""
        return Batch(np.stack([read_picture(self.folder, key.index, self.size) for key in keys]))


def read_picture(folder: Path, index: int, size: int) -> NDArray[np.uint8]:
    """[size, size, 3] uint8. Raises UsageError: missing, unreadable, or of another size."""
    from PIL import Image

    path = image_file(folder, index)
    if path is None:
        raise UsageError(f"images={folder}: {index:05d}.png (or .jpg, .webp) is missing")
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


def check_folder(folder: Path, indices: Sequence[int], seeds: Sequence[int], size: int) -> None:
    """Refuse a folder that lacks a picture or holds one that cannot be read. Raises UsageError."""
    if len(seeds) > 1:
        raise UsageError(f"images={folder}: a folder has one image per prompt, so give one seed")
    check_complete(folder, indices)
    for index in indices:
        read_picture(folder, index, size)


def check_complete(folder: Path, indices: Sequence[int]) -> None:
    """Refuse a folder that lacks a picture, without reading those that are there.

    Raises UsageError.
    """
    absent = [index for index in indices if image_file(folder, index) is None]
    if absent:
        first = ", ".join(f"{index:05d}" for index in absent[:5])
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        raise UsageError(f"images={folder}: {len(absent)} of {len(indices)} images are missing: "
                         f"{first}{more} (.png, .jpg or .webp)")  # fmt: skip
