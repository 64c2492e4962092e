"""The gallery: thumbnails as bytes allow, words and scores of all prompts, links to files.

The page's script makes everything from this; without it the page shows `fallback`.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from bench.errors import UsageError
from bench.report import pairs
from bench.report.figures import colour_class
from bench.report.runfiles import RunFiles, ranges
from bench.report.selection import RANDOM, headline
from bench.report.view import any_value
from bench.report.words import groups, metric_words
from bench.results.lossless import THREADS
from bench.results.summary import Contestant, Summary

WORDS_MOST = 6_000_000  # characters that words and scores of prompts may take
SHOWN_WITHOUT_SCRIPT = 6
THUMBNAIL, QUALITY = 256, 86
AHEAD = 16  # prompts whose thumbnails are encoded at once


@dataclass(frozen=True)
class Thumbnails:
    """`cells[prompt][contestant]`: a picture as base64 of WebP.  size: characters of all of them.
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


@dataclass(frozen=True)
class Fallback:
    """A few random prompts for a page without its script: [(words, [base64 or None])]."""

    contestants: list[Contestant]
    rows: list[tuple[str, list[str | None]]]


def thumbnails(files: RunFiles, prompts: Iterable[int], most: int) -> Thumbnails:
    """The pictures of `prompts` in their order, whole prompts, as long as `most` characters last.

    A picture that is missing or damaged is left out, and the latter named.
    """
    cells: dict[int, dict[str, str]] = {}
    size, damaged = 0, list[str]()
    for prompt, row, faults in _rows(files, list(prompts)):
        damaged += faults
        length = sum(map(len, row.values()))
        if size + length > most:
            break
        if row:
            cells[prompt] = row
            size += length
    return Thumbnails(cells, size, damaged)


def _rows(
    files: RunFiles, prompts: Sequence[int]
) -> Iterator[tuple[int, dict[str, str], list[str]]]:
    """Thumbnails of each prompt by contestant, and its files that are damaged: encoded in threads,
    a few prompts ahead of what is asked for."""
    with ThreadPoolExecutor(THREADS) as threads:
        for start in range(0, len(prompts), AHEAD):
            some = prompts[start : start + AHEAD]
            made = threads.map(partial(_row, files), some)
            yield from ((prompt, *found) for prompt, found in zip(some, made, strict=True))


def _row(files: RunFiles, prompt: int) -> tuple[dict[str, str], list[str]]:
    row, damaged = {}, []
    for name, path in _of(prompt, files):
        try:
            row[name] = encoded(path)
        except UsageError as error:
            damaged.append(f"images/{name}/{path.name}: {error}; left out")
    return row, damaged


def _of(prompt: int, files: RunFiles) -> list[tuple[str, Path]]:
    """(contestant, file) of the pictures of a prompt."""
    return [(name, found[prompt]) for name, found in files.pictures.items() if prompt in found]


def encoded(path: Path) -> str:
    """A thumbnail of at most 256 pixels as base64 of WebP. Raises UsageError for a damaged file."""
    from hypersd.picture_reader import read

    small, out = read(path).image, io.BytesIO()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small.save(out, "WEBP", quality=QUALITY, method=2)
    return base64.b64encode(out.getvalue()).decode("ascii")


def contestants(summary: Summary, files: RunFiles) -> list[Contestant]:
    """The contestants with pictures, in the table's order."""
    return [c for _, members in groups(summary) for c in members if c.name in files.pictures]


def fallback(summary: Summary, files: RunFiles, thumbs: Thumbnails) -> Fallback:
    """The first random prompts with all their pictures."""
    shown = contestants(summary, files)
    rows: list[tuple[str, list[str | None]]] = [
        (files.text(prompt), [cells.get(c.name) for c in shown])
        for prompt, cells in list(thumbs.cells.items())[:SHOWN_WITHOUT_SCRIPT]
    ]
    return Fallback(shown, rows)


def data(summary: Summary, files: RunFiles, thumbs: Thumbnails) -> Markup:
    """The gallery's data as JSON that is safe inside a script element; "" without pictures."""
    shown = contestants(summary, files)
    if not shown:
        return Markup("")
    metrics = [m for m in files.scores if m in summary.metric_names()]
    prompts = _prompts(files, list(thumbs.cells), len(metrics) * len(shown))
    first = next(
        (pair for pair in pairs.ordered(summary) if set(pair) <= files.pictures.keys()), ()
    )
    found: dict[str, Any] = {
        "contestants": [_contestant(summary, files, c) for c in shown],
        "metrics": [_metric(summary, files, m) for m in metrics],
        "headline": metrics.index(head) if (head := headline(files)) in metrics else 0,
        "pair": list(first),
        "prompts": [[index, files.text(index)] for index in prompts],
        "random": list(thumbs.cells)[:RANDOM],
        "scores": {m: _scores(files, m, shown, prompts) for m in metrics},
        "pictures": {
            str(index): [cells.get(c.name) for c in shown] for index, cells in thumbs.cells.items()
        },
        "all": len(_known(files)),
    }
    return _script(found)


def _known(files: RunFiles) -> list[int]:
    """Every prompt that has a picture of any contestant."""
    return sorted({index for found in files.pictures.values() for index in found})


def _prompts(files: RunFiles, embedded: Sequence[int], scores: int) -> list[int]:
    """Prompts in ascending order: the embedded ones, then as many others as words' bytes allow."""
    kept, left = set(embedded), WORDS_MOST
    for index in _known(files):
        left -= len(files.text(index)) + 12 + 7 * scores
        if left < 0:
            break
        kept.add(index)
    return sorted(kept)


def _contestant(summary: Summary, files: RunFiles, contestant: Contestant) -> dict[str, Any]:
    """files: [folder, extension, digits, ranges of prompts] for every kind of file there is."""
    kinds: dict[tuple[str, str, int], list[int]] = {}
    for index, path in files.pictures[contestant.name].items():
        folder = os.path.relpath(path.parent, files.folder)
        kinds.setdefault((folder, path.suffix, len(path.stem)), []).append(index)
    return {
        "name": contestant.name,
        "style": colour_class(summary, contestant.method),
        "files": [
            [quote(folder.replace(os.sep, "/")), suffix, digits, ranges(found)]
            for (folder, suffix, digits), found in kinds.items()
        ],
    }


def _metric(summary: Summary, files: RunFiles, metric: str) -> dict[str, Any]:
    return {
        "key": metric,
        "title": metric_words(metric).title,
        "higher": any_value(summary, metric).higher_is_better,
        "places": _places(files.spread(metric)),
        "spread": float(f"{files.spread(metric):.6g}"),
    }


def _places(spread: float) -> int:
    """Decimals that tell single pictures apart: three figures of their spread, at most two."""
    return min(2, max(0, 2 - math.floor(math.log10(spread))))


def _scores(
    files: RunFiles, metric: str, shown: Sequence[Contestant], prompts: Sequence[int]
) -> list[list[float | None]]:
    """Scores [contestants][prompts], four figures; None if missing."""
    columns = np.searchsorted(files.ids, prompts)
    there = columns < len(files.ids)
    there[there] = files.ids[columns[there]] == np.asarray(prompts)[there]
    rows = []
    for contestant in shown:
        values = np.full(len(prompts), np.nan)
        if contestant.name in files.names:
            values[there] = files.scores[metric][files.names.index(contestant.name)][columns[there]]
        rows.append([None if math.isnan(v) else float(f"{v:.4g}") for v in values.tolist()])
    return rows


def _script(value: Any) -> Markup:
    """JSON in which nothing can end the script element or start another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
