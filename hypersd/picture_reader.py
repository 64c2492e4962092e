"""A picture file -> 8-bit sRGB as a viewer shows it: what is scored, trained on and shown.

In this order: 16-bit and float grey to 8 bit, an embedded ICC profile and other colour spaces to
sRGB, transparency on white (`hypersd.picture_colours` says how), EXIF's orientation. Pillow keeps
the high byte of 16-bit colour. Ignored: PNG's gAMA, cHRM and cICP chunks, and an orientation that
only XMP gives.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from hypersd import picture_colours
from hypersd.errors import UsageError, brief, os_words
from hypersd.file_kinds import BEGINNING, PICTURE, instead

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
UPRIGHT = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED = "are turned as their EXIF says"
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, eq=False)
class Decoded:
    """image: RGB. notes: the conversions that were made, as clauses about several pictures."""

    image: Image.Image
    notes: tuple[str, ...] = ()

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 3]."""
        return np.asarray(self.image)


def read(path: Path) -> Decoded:
    """The picture of a file. Raises UsageError, to be said after its name, as `decode`."""
    try:
        return decode(path.read_bytes())
    except FileNotFoundError:
        raise UsageError("is missing") from None
    except OSError as error:
        raise UsageError(f"is unreadable ({os_words(error)})") from None


def decode(stored: bytes) -> Decoded:
    """The picture of a file's bytes.

    Raises UsageError, to be said after its name: not a picture of `FORMATS`, damaged (of a PNG also
    where only a checksum is wrong), animated or of several pages, too large by Pillow's limit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow: what matters of them is refused here
            return _decoded(stored)
    except UsageError:
        raise
    except UnidentifiedImageError:
        raise UsageError(
            instead(stored[:BEGINNING], PICTURE) or "is damaged, or no picture; valid: a whole one"
        ) from None
    except Image.DecompressionBombError:
        why = f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    except Exception as error:  # Pillow raises many kinds for a damaged file
        why = brief(error, 120)
    raise UsageError(f"is unreadable ({why})")


def _decoded(stored: bytes) -> Decoded:
    is_png = stored.startswith(SIGNATURE)
    if is_png:
        _check_sums(stored)
    with Image.open(io.BytesIO(stored), formats=["PNG"] if is_png else None) as image:
        _check_kind(image)
        image.load()
        if is_png:
            _scale_transparency(image, depth=stored[24])
        orientation = _orientation(image)
        shown, notes = picture_colours.to_srgb(image)
    if orientation in UPRIGHT:
        shown, notes = shown.transpose(UPRIGHT[orientation]), (*notes, TURNED)
    shown.info = {}  # profile and EXIF are done with: a copy must not be changed by them again
    return Decoded(shown, notes)


def _check_sums(png: bytes) -> None:
    """Raise for a PNG's part that is cut off or whose checksum is wrong: it might be decoded all
    the same."""
    place, kind, view = len(SIGNATURE), b"", memoryview(png)
    while kind != b"IEND":
        if place + 12 > len(png):
            raise ValueError("is cut off")
        length, kind = struct.unpack_from(">I4s", png, place)
        end = place + 8 + length
        if view[end : end + 4] != zlib.crc32(view[place + 4 : end]).to_bytes(4, "big"):
            raise ValueError(f"checksum of {kind!r} is wrong, or it is cut off")
        place = end + 4


def _check_kind(image: Image.Image) -> None:
    """Refuse other formats than `FORMATS`, and what has more than one picture to show: an MPO's
    others are thumbnails and depths."""
    if image.format not in FORMATS:
        raise UsageError(f"is a {image.format} file; valid: PNG, JPEG, WebP")
    if getattr(image, "is_animated", False) and image.format != "MPO":
        what = "pages" if image.format == "TIFF" else "frames: it is animated"
        raise UsageError(f"has {getattr(image, 'n_frames', 2)} {what}; valid: one still picture")


def _scale_transparency(image: Image.Image, depth: int) -> None:
    """The colour that a PNG calls transparent, in Pillow's levels: it is given in the file's."""
    if "transparency" not in image.info:
        return
    if image.mode == "L" and depth < 8:
        image.info["transparency"] *= 255 // (2**depth - 1)
    if image.mode == "RGB" and depth == 16:
        raise UsageError("has 16-bit colours, one of them transparent; valid: 8 bit, or alpha")


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 where there is none; a TIFF's and an AVIF's own is applied or given by Pillow."""
    if "exif" not in image.info:
        return 1
    exif = Image.Exif()
    try:
        exif.load(image.info["exif"])
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow raises many kinds for EXIF that is damaged: viewers do without
        return 1
