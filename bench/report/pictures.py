"""Thumbnails for a report: as many of the chosen prompts as a number of bytes allows."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import brief
from bench.report.runfiles import RunFiles
from bench.results.pictures import verify

THUMBNAIL, QUALITY = 256, 86


@dataclass(frozen=True)
class Thumbnails:
    """cells[prompt][contestant]: a picture as base64 of WebP.  size: characters of all of them.
    damaged: files that were left out, and why."""

    cells: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    size: int = 0
    damaged: Sequence[str] = ()

    def within(self, most: int) -> Thumbnails:
        """The first prompts of these, as many as `most` characters hold."""
        cells, size = {}, 0
        for prompt, row in self.cells.items():
            size += sum(map(len, row.values()))
            if size > most:
                break
            cells[prompt] = row
        kept = sum(len(text) for row in cells.values() for text in row.values())
        return Thumbnails(cells, kept, self.damaged)


def thumbnails(files: RunFiles, prompts: Iterable[int], most: int) -> Thumbnails:
    """The pictures of `prompts` in their order, whole prompts, as long as `most` characters last.

    A picture that is missing or damaged is left out, and the latter named.
    """
    cells: dict[int, dict[str, str]] = {}
    size, damaged = 0, []
    for prompt in prompts:
        row = {}
        for name, path in _of(prompt, files):
            try:
                row[name] = encoded(path)
            except Exception as error:  # Pillow raises many kinds for a damaged file
                damaged.append(f"images/{name}/{path.name}: {brief(error, 120)}; left out")
        length = sum(map(len, row.values()))
        if size + length > most:
            break
        if row:
            cells[prompt] = row
            size += length
    return Thumbnails(cells, size, damaged)


def _of(prompt: int, files: RunFiles) -> list[tuple[str, Path]]:
    """(contestant, file) of the pictures of a prompt."""
    return [(name, found[prompt]) for name, found in files.pictures.items() if prompt in found]


def encoded(path: Path) -> str:
    """A thumbnail of at most 256 pixels as base64 of WebP. Raises whatever Pillow raises for a
    damaged file."""
    from PIL import Image

    verify(path)
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        out = io.BytesIO()
        small.save(out, "WEBP", quality=QUALITY, method=2)
    return base64.b64encode(out.getvalue()).decode("ascii")
