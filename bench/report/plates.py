"""The pictures of the PDF: plates of random prompts, and prompts where one contestant gains or
loses most.

A plate is a grid of prompts (down) by contestants (across). All contestants have columns of one
width; where they need several plates, these are of nearly the same size, two to a page.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.report import gallery, selection
from bench.report.runfiles import RunFiles
from bench.report.words import metric_words
from bench.results.summary import Summary

PROMPTS, COLUMNS, PAIRS, EXTREMES = 6, 10, 4, 6
PICTURE = 384  # pixels; a larger picture is made smaller
# Millimetres: of the page's text, of a plate's words at least and at most, of the largest picture
# where there is one plate and where two share a page, and around a picture.
WIDTH, WORDS, WORDS_MOST, ALONE, SHARED, AROUND = 170.0, 20.0, 60.0, 30.0, 16.0, 1.2
CHARACTER, LINE = 1.25, 2.9  # of the words of a prompt, millimetres on average


@dataclass(frozen=True)
class Plate:
    """names: across.  rows: (words, a file name or None for each name).  side: of a picture, and
    words: the width of the first column, in millimetres."""

    names: list[str]
    rows: list[tuple[str, list[str | None]]]
    side: float
    words: float


def parts(names: Sequence[str], most: int = COLUMNS) -> list[list[str]]:
    """The names in order, on as few plates as hold them; two plates differ by one name at most."""
    count = math.ceil(len(names) / most)
    ends = [i * len(names) // count for i in range(count + 1)] if count else []
    return [list(names[a:b]) for a, b in pairwise(ends)]


def plates(summary: Summary, files: RunFiles, scratch: Path) -> list[Plate]:
    """Plates of random prompts by contestants; writes their pictures into `scratch`."""
    shared = parts([c.name for c in gallery.contestants(summary, files)])
    chosen = selection.shuffled(files)[:PROMPTS]
    across = max(map(len, shared), default=1)
    side = min(SHARED if len(shared) > 1 else ALONE, (WIDTH - WORDS) / across - AROUND)
    return [
        Plate(
            part,
            [(_fitting(files.text(p), side, words), [picture(files, n, p, scratch) for n in part])
             for p in chosen],
            side, words,
        )
        for words in [min(WORDS_MOST, WIDTH - across * (side + AROUND))]
        for part in shared
    ]  # fmt: skip


def _fitting(text: str, height: float, width: float) -> str:
    """A prompt cut to what stands beside a picture."""
    room = int(height / LINE) * int(width / CHARACTER)
    return textwrap.shorten(text, room, placeholder=" \u2026")


def extremes(summary: Summary, files: RunFiles, scratch: Path) -> list[dict[str, Any]]:
    """Where a gains most and loses most against b, for the pairs that a reader wants first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for choice in selection.choices(summary, files) if files.pictures else []:
        if choice.reason in ("gains", "losses"):
            pair = (choice.a, choice.b)
            usable = [
                p for p in choice.prompts
                if all(p in files.pictures.get(name, {}) for name in pair)
            ][:EXTREMES]  # fmt: skip
            entry = found.setdefault(
                pair, {"a": pair[0], "b": pair[1], "metric": metric_words(choice.metric).title}
            )
            entry[choice.reason] = [
                [*(picture(files, name, p, scratch) for name in pair), files.text(p)]
                for p in usable
            ]
    whole = [e for e in found.values() if e.get("gains") or e.get("losses")]
    return [{"gains": [], "losses": [], **entry} for entry in whole[:PAIRS]]


def picture(files: RunFiles, name: str, prompt: int, scratch: Path) -> str | None:
    """The file name of a picture in `scratch`; None where it is missing or unreadable."""
    source = files.pictures.get(name, {}).get(prompt)
    if source is None:
        return None
    from hypersd.picture_reader import read

    target = scratch / f"picture-{list(files.pictures).index(name)}-{prompt}"
    try:
        small = read(source).image
    except UsageError:
        return None
    small.thumbnail((PICTURE, PICTURE))
    kind, suffix = ("PNG", ".png") if max(small.size) <= 128 else ("JPEG", ".jpg")
    data = io.BytesIO()
    small.save(data, kind, quality=88)
    target.with_suffix(suffix).write_bytes(data.getvalue())
    return target.with_suffix(suffix).name
