"""Pictures that reveal nothing of their contestant: one format, one size, one length in bytes.

PNG files of noisier pictures are longer; all files of a study are filled up to the longest one.
"""

from __future__ import annotations

import hmac
import io
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from bench.errors import UsageError, brief
from bench.study.material import FOLDER, Material
from hypersd.picture_reader import read
from hypersd.whole_files import folder_written_whole

SPOILED = "~spoiled"  # the wrong side of an attention check
TILES = 4
FILLING = b"fiLl"  # an ancillary, private, safe-to-copy chunk that every reader skips
FRAME = 12  # bytes of a chunk without its data: length, name, checksum
SIDE = 1024  # longest side that is served; larger pictures are made smaller


def hidden(secret: str, *words: object) -> str:
    """A name that reveals nothing without the secret: 32 hex digits."""
    text = "\x1f".join(map(str, words))
    return hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()[:32]


class Album:
    """The study's pictures under hidden names, made once and kept in the run folder."""

    def __init__(self, material: Material, secret: str) -> None:
        """Makes missing pictures. Raises UsageError for a picture that cannot be read."""
        self.material, self.secret = material, secret
        self.folder = material.run / FOLDER / f"pictures-{material.identity[:12]}"
        if not self.folder.is_dir():
            self._make()

    def path(self, name: str, prompt: int) -> Path:
        """The file of a contestant's picture of a prompt, or of the spoiled one."""
        return self.folder / f"{self.name(name, prompt)}.png"

    def name(self, name: str, prompt: int) -> str:
        """The hidden name of a picture."""
        return hidden(self.secret, "picture", name, prompt)

    def _make(self) -> None:
        files = self.material.files
        size = self._size()
        shown = set(self.material.contestants) | {self.material.check_source}
        made: dict[str, bytes] = {}
        for (name, prompt), path in files.items():
            if name in shown and prompt in self.material.prompts:
                picture = _read(path).resize(size, Image.Resampling.LANCZOS)
                made[self.name(name, prompt)] = _png(picture)
                if name == self.material.check_source:
                    made[self.name(SPOILED, prompt)] = _png(spoiled(picture, prompt))
        length = max(map(len, made.values())) + FRAME
        with folder_written_whole(self.folder) as beside:
            for name, data in sorted(made.items()):
                (beside / f"{name}.png").write_bytes(filled(data, length))

    def _size(self) -> tuple[int, int]:
        """The commonest size, made smaller where a side is too long."""
        sizes = Counter(map(_dimensions, self.material.files.values()))
        width, height = sizes.most_common(1)[0][0]
        factor = min(1.0, SIDE / max(width, height))
        return max(1, round(width * factor)), max(1, round(height * factor))


def spoiled(picture: Image.Image, seed: int) -> Image.Image:
    """The picture cut into 4x4 shuffled tiles under strong noise, for attention checks."""
    rng = np.random.default_rng(seed)
    width, height = (side - side % TILES or side for side in picture.size)
    cut = np.asarray(picture.crop((0, 0, width, height)), np.float64)
    tiles = [
        tile for row in np.array_split(cut, TILES) for tile in np.array_split(row, TILES, axis=1)
    ]
    order = rng.permutation(len(tiles))
    rows = [np.concatenate([tiles[j] for j in order[i : i + TILES]], axis=1)
            for i in range(0, len(tiles), TILES)]  # fmt: skip
    mixed = np.concatenate(rows)
    noisy = 0.5 * mixed + 0.5 * rng.uniform(0, 255, mixed.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).resize(picture.size)


def filled(png: bytes, length: int) -> bytes:
    """The same PNG with a chunk of zeros before its last, `length` bytes long in all.

    Raises ValueError where that is less than the file and an empty chunk.
    """
    room = length - len(png) - FRAME
    if room < 0:
        raise ValueError(f"cannot fill {len(png)} bytes up to {length}")
    zeros = bytes(room)
    chunk = struct.pack(">I", room) + FILLING + zeros
    chunk += struct.pack(">I", zlib.crc32(FILLING + zeros))
    return png[:-FRAME] + chunk + png[-FRAME:]


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _read(path: Path) -> Image.Image:
    try:
        return read(path).image
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _dimensions(path: Path) -> tuple[int, int]:
    """Width and height, from the file's head alone."""
    try:
        with Image.open(path) as image:
            return image.size
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise UsageError(f"{path}: is unreadable ({brief(error, 120)})") from None
