"""PNG files of any depth and kind, written from their parts."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # colour types
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
SIGNATURE = b"\x89PNG\r\n\x1a\n"
Part = tuple[bytes, bytes]  # name, content


def png(values: Any, depth: int, kind: int, parts: Iterable[Part] = ()) -> bytes:
    """values: [H, W, channels] integers below 2 ** depth.  parts: between head and data."""
    height, width = values.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    bits = np.unpackbits(values.reshape(height, -1, 1).astype(">u2").view(np.uint8), axis=-1)
    rows = np.packbits(bits[..., 16 - depth :].reshape(height, -1), axis=-1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    whole = [(b"IHDR", head), *parts, (b"IDAT", data), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(*part) for part in whole)


def transparent(*levels: int) -> Part:
    """The grey level or colour that is transparent."""
    return b"tRNS", struct.pack(f">{len(levels)}H", *levels)


def exif(orientation: int) -> Part:
    """EXIF that says how the picture is turned."""
    tag = struct.pack(">HHIHH", 0x112, 3, 1, orientation, 0)
    return b"eXIf", b"MM\0*" + struct.pack(">IH", 8, 1) + tag + bytes(4)


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
