"""Bytes that a run's pictures take: all of them, or those that it keeps."""

from __future__ import annotations

from collections.abc import Sequence

from bench.results import lossless
from bench.run.hardware import GB
from bench.run.options import PICTURES, Pictures, is_shown
from bench.run.rows_left import Planned
from bench.suite.suite import Suite

PNG = 0.44  # of a picture's bytes, in the run folder beside the cache; measured at 1024 px


def in_cache(suite: Suite, rows: Sequence[Planned], pictures: Pictures) -> int:
    """Bytes of missing pictures in the cache."""
    return round(sum(
        lossless.RATIO * _raw(suite, planned) * len(part)
        for planned in rows
        for number, part in enumerate(planned.slices)
        if part.make and (part.is_needed or is_shown(pictures, number))
    ))  # fmt: skip


def in_run_folder(suite: Suite, rows: Sequence[Planned], pictures: Pictures) -> int:
    """Bytes of missing pictures of the first seed in the run folder."""
    return round(sum(
        PNG * _raw(suite, planned) * sum(key.seed == suite.seeds[0] for key in part.keys)
        for planned in rows
        for number, part in enumerate(planned.slices)
        if part.make and is_shown(pictures, number)
    ))  # fmt: skip


def together(suite: Suite, rows: Sequence[Planned], pictures: Pictures) -> int:
    """In the cache and in the run folder."""
    return in_cache(suite, rows, pictures) + in_run_folder(suite, rows, pictures)


def saving(suite: Suite, rows: Sequence[Planned], pictures: Pictures) -> str:
    """A clause on what keeping fewer would save; "" where it would nothing."""
    here = together(suite, rows, pictures)
    for fewer in PICTURES[PICTURES.index(pictures) + 1 :] if suite.metrics else ():
        less = here - together(suite, rows, fewer)
        if less > 0:
            return f"pictures={fewer} takes {less / GB:.1f} GB less"
    return ""


def _raw(suite: Suite, planned: Planned) -> int:
    return 3 * planned.row.size(suite.size) ** 2
