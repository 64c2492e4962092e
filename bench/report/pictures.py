"""The page's picture grid: the same prompts and seeds across contestants, as data URIs."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.report.words import groups
from bench.summary import Contestant, Summary

PROMPTS = 10
TYPES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
LARGEST_BYTES = 48_000  # a larger file is shown as a thumbnail
THUMBNAIL = 256


@dataclass(frozen=True)
class Grid:
    """contestants: columns.  rows: (prompt text, one data URI or None per column)."""

    contestants: list[Contestant]
    rows: list[tuple[str, list[str | None]]]


def grid(summary: Summary, run: Path, most: int = PROMPTS) -> Grid:
    """Images from `run`/images/<contestant>/<prompt index>.png, texts from prompts.jsonl.

    The prompts that most contestants have come first; contestants without images are left out.
    """
    columns = [c for _, members in groups(summary) for c in members]
    found = {c.name: _files(run / "images" / c.name) for c in columns}
    columns = [c for c in columns if found[c.name]]
    counts = Counter(index for c in columns for index in found[c.name])
    chosen = sorted(sorted(counts, key=lambda i: (-counts[i], i))[:most])
    texts = _texts(run / "prompts.jsonl")
    rows: list[tuple[str, list[str | None]]] = [
        (texts.get(i, f"prompt {i}"), [_uri(found[c.name].get(i)) for c in columns]) for i in chosen
    ]
    return Grid(columns, rows)


def _files(folder: Path) -> dict[int, Path]:
    """Image files by prompt index."""
    if not folder.is_dir():
        return {}
    return {
        int(path.stem): path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in TYPES and path.stem.isdecimal()
    }


def _texts(path: Path) -> dict[int, str]:
    """Prompt texts by index; a missing or damaged file gives none."""
    texts: dict[int, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            row = json.loads(line)
            texts[int(row["index"])] = str(row["text"])
    except (OSError, ValueError, KeyError, TypeError):
        return texts
    return texts


def _uri(path: Path | None) -> str | None:
    """The file itself as a data URI, or a thumbnail of a large one; None where unreadable."""
    if path is None:
        return None
    try:
        data, kind = path.read_bytes(), TYPES[path.suffix.lower()]
        if len(data) > LARGEST_BYTES:
            data, kind = _thumbnail(data), "jpeg"
    except OSError:
        return None
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _thumbnail(data: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        out = io.BytesIO()
        small.save(out, "JPEG", quality=88)
    return out.getvalue()
