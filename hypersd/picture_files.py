"""Which files are pictures, by their names alone; `hypersd.picture_reader` reads them."""

from __future__ import annotations

from pathlib import PurePath

VERSION = 2
"""Moves when the reader gives other pixels for some file, so that nothing older is taken for it."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Those that are taken, in either case."""
OTHERS = (".apng", ".avif", ".bmp", ".gif", ".heic", ".jfif", ".jp2", ".jxl", ".tif", ".tiff")
"""Those of pictures that are not taken."""


def is_picture(path: PurePath) -> bool:
    """Whether a file of this name is taken; hidden files are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def is_other_picture(path: PurePath) -> bool:
    """Whether a file of this name is a picture that is not taken; hidden files are none."""
    return path.suffix.lower() in OTHERS and not path.name.startswith(".")
