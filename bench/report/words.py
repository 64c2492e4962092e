"""Titles of metrics, formats of numbers, and groups of contestants."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from bench.results.summary import Contestant, Summary
from bench.statistics.metrics import MetricSpec, spec


def metric_words(name: str) -> MetricSpec:
    """A metric's title and question; its plain name if it has no row."""
    return spec(name)


def enough_words(summary: Summary) -> str:
    """ " Diversity left: above 100 is not better." of each metric that can be too much."""
    found = ((spec(name).title, spec(name).enough) for name in summary.metric_names())
    return "".join(f" {title}: above {most:g} is not better." for title, most in found
                   if most is not None)  # fmt: skip


def decimals(summary: Summary, metric: str) -> int:
    """Decimals that show two figures of the typical interval's half width, at most four."""
    found = [c.metrics[metric] for c in summary.contestants if metric in c.metrics]
    halves = [(m.high - m.low) / 2 for m in found if m.high > m.low]
    if not halves:
        return 2
    return min(4, max(0, 1 - math.floor(math.log10(float(np.median(halves))))))


def listed(words: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    items = list(words)
    return ", ".join(items[:-1]) + " and " + items[-1] if len(items) > 1 else "".join(items)


def titles(metrics: Iterable[str]) -> str:
    """Metrics by their titles: "FID, CLIP and HPS"."""
    return listed(metric_words(m).title for m in metrics)


def steps_words(steps: int | None) -> str:
    """ "1 step", "4 steps"; for images without steps "Images made elsewhere"."""
    return "Images made elsewhere" if steps is None else f"{steps} step{'s' * (steps != 1)}"


def groups(summary: Summary) -> list[tuple[str, list[Contestant]]]:
    """Contestants under a heading: by step count, then the teacher, then the anchors."""
    rivals = [c for c in summary.contestants if not c.is_anchor and c.method != "teacher"]
    order = sorted({c.steps for c in rivals}, key=lambda s: (s is None, s))
    found = [(steps_words(s), [c for c in rivals if c.steps == s]) for s in order]
    teachers = [c for c in summary.contestants if c.method == "teacher"]
    anchors = [c for c in summary.contestants if c.is_anchor]
    return [*found, *([("Teacher", teachers)] if teachers else []),
            *([("Anchors", anchors)] if anchors else [])]  # fmt: skip
