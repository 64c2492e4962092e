"""Margins (the smallest difference that matters, per metric), and limits on time and memory.

A margin or limit is a number in the metric's own unit, or a share of the value that is compared
with, as "5%". A suite sets its own under `margins` and `limits`; the defaults are LIMITS and those
of the metrics' rows (`bench.statistics.metrics`). They were chosen for the world's metrics and a
thousand prompts or fewer: `clip` spreads over 40 points between pictures, and a distance to the
teacher is small, so its error is a large share of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.statistics.metrics import spec
from bench.statistics.result import Result

Margin = float | str  # a number, or a percentage as "5%"

LIMITS: dict[str, Margin | None] = {"seconds": "50%", "memory": "25%"}


def of(metric: str, margins: Mapping[str, Margin] | None = None) -> Margin:
    """The margin of a metric: the suite's, else the default."""
    return (margins or {}).get(metric, spec(metric).margin)


def of_result(margin: Margin, result: Result) -> float:
    """A margin in the metric's unit, a percentage being of the value that is compared with; of a
    distance, of that at infinity: of a few hundred images a value is mostly bias, which both sides
    have alike."""
    return size(margin, result.value if result.at_infinity is None else result.at_infinity)


def size(margin: Margin, value: float) -> float:
    """A margin in the metric's unit, where `value` is what is compared with."""
    if isinstance(margin, str):
        return abs(value) * float(margin.rstrip("%")) / 100
    return margin
