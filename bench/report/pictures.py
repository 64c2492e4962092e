"""Thumbnails for a report: as many of the chosen prompts as a number of bytes allows."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.report.runfiles import RunFiles

THUMBNAIL, QUALITY = 256, 86


@dataclass(frozen=True)
class Thumbnails:
    """cells[prompt][contestant]: a picture as base64 of WebP.  size: characters of all of them."""

    cells: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    size: int = 0

    def within(self, most: int) -> Thumbnails:
        """The first prompts of these, as many as `most` characters hold."""
        cells, size = {}, 0
        for prompt, row in self.cells.items():
            size += sum(map(len, row.values()))
            if size > most:
                break
            cells[prompt] = row
        return Thumbnails(cells, sum(len(t) for row in cells.values() for t in row.values()))


def thumbnails(files: RunFiles, prompts: Iterable[int], most: int) -> Thumbnails:
    """The pictures of `prompts` in their order, whole prompts, as long as `most` characters last.

    A picture that is missing or unreadable is left out.
    """
    cells: dict[int, dict[str, str]] = {}
    size = 0
    for prompt in prompts:
        row = {
            name: text
            for name, found in files.pictures.items()
            if prompt in found and (text := encoded(found[prompt])) is not None
        }
        length = sum(map(len, row.values()))
        if size + length > most:
            break
        if row:
            cells[prompt] = row
            size += length
    return Thumbnails(cells, size)


def encoded(path: Path) -> str | None:
    """A thumbnail of at most 256 pixels as base64 of WebP; None where the file is unreadable."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((THUMBNAIL, THUMBNAIL))
            out = io.BytesIO()
            small.save(out, "WEBP", quality=QUALITY, method=2)
    except Exception:  # Pillow raises many kinds for a damaged file
        return None
    return base64.b64encode(out.getvalue()).decode("ascii")
