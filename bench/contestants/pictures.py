"""Pictures: a batch of new ones, and folders of pictures made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.results.keys import Key
from bench.results.pictures import image_file, read_picture


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
                         f"{first}{more} (.png, .jpg, .jpeg or .webp)")  # fmt: skip
