"""Selects the prompts whose pictures a report holds: some at random, and those on which contestants
differ most.

random     from the prompts that most contestants have pictures of, in an order fixed by a seed
gains      where a scores highest above b, on the first metric that has scores of one image
losses     where a scores lowest below b
different  where a and b are furthest apart on all such metrics together, each in units of
           its standard deviation, whoever is ahead
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from bench.report import pairs
from bench.report.runfiles import Array, RunFiles
from bench.results.summary import Summary
from bench.statistics.metrics import METRICS

RANDOM, PER_PAIR, MOST = 24, 8, 240


@dataclass(frozen=True)
class Choice:
    """Prompts chosen for one reason; a, b: the pair that differs on them ("" for random ones)."""

    reason: str
    prompts: list[int]
    a: str = ""
    b: str = ""
    metric: str = ""


def headline(files: RunFiles) -> str | None:
    """The metric that orders pictures by default."""
    known = [m for m in METRICS if m in files.scores]
    return next(iter([*known, *files.scores]), None)


def choices(summary: Summary, files: RunFiles) -> list[Choice]:
    """Random prompts first, then gains, losses and most different of every compared pair, the most
    wanted pair first."""
    found = [Choice("random", shuffled(files)[:RANDOM])]
    metric = headline(files)
    if metric is None:
        return found
    for a, b in pairs.ordered(summary):
        delta, apart = files.difference(a, b, metric), distance(files, a, b)
        if delta is None:
            continue
        lower = -1 if _falls(summary, metric) else 1
        found.append(Choice("gains", _top(files, lower * delta, signed=True), a, b, metric))
        found.append(Choice("losses", _top(files, -lower * delta, signed=True), a, b, metric))
        found.append(Choice("different", _top(files, apart), a, b))
    return found


def ordered(found: Sequence[Choice], most: int = MOST) -> list[int]:
    """Prompts without repeats: the random ones, then rank by rank one of every other choice."""
    if not found:
        return []
    longest = max(len(choice.prompts) for choice in found[1:]) if len(found) > 1 else 0
    ranks = (c.prompts[rank] for rank in range(longest) for c in found[1:] if rank < len(c.prompts))
    return list(islice(_once([*found[0].prompts, *ranks]), most))


def shuffled(files: RunFiles, seed: int = 0) -> list[int]:
    """Prompts with pictures: those that most contestants have first, otherwise at random."""
    counts = Counter(index for found in files.pictures.values() for index in found)
    indices = sorted(counts)
    places = np.random.default_rng(seed).permutation(len(indices))
    return sorted((indices[i] for i in places), key=lambda index: -counts[index])


def distance(files: RunFiles, a: str, b: str) -> Array:
    """How far apart a and b are on every prompt [P]; nan where no metric has both."""
    parts = []
    for metric in files.scores:
        delta = files.difference(a, b, metric)
        assert delta is not None
        parts.append(np.abs(delta) / files.spread(metric))
    stacked = np.stack(parts)
    there = np.isfinite(stacked).any(axis=0)
    return np.where(there, np.nansum(stacked, axis=0), np.nan)


def _top(files: RunFiles, values: Array, *, signed: bool = False) -> list[int]:
    """The prompts of the largest values; signed: positive ones only."""
    usable = np.flatnonzero(np.isfinite(values) & ((values > 0) | (not signed)))
    best = usable[np.argsort(-values[usable], kind="stable")][:PER_PAIR]
    return [int(files.ids[i]) for i in best]


def _falls(summary: Summary, metric: str) -> bool:
    values = (c.metrics[metric] for c in summary.contestants if metric in c.metrics)
    return any(not value.higher_is_better for value in values)


def _once(items: Iterable[int]) -> Iterable[int]:
    return iter(dict.fromkeys(items))
