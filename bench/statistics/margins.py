"""The smallest difference that matters, per metric, and how much slower or larger is too much.

A margin or limit is a number in the metric's own unit, or a share of the value that is compared
with, as "5%". A suite sets its own under `margins` and `limits`; these are the defaults. They were
chosen for the world's metrics and a thousand prompts or fewer: `clip` spreads over 40 points
between pictures, and a distance to the teacher is small, so its error is a large share of it.
"""

from __future__ import annotations

from collections.abc import Mapping

Margin = float | str  # a number, or a percentage as "5%"

MARGINS: dict[str, Margin] = {
    "fid": "10%",
    "fid_teacher": "20%",
    "fid_inf": "10%",
    "clip": 1.0,
    "aesthetic": 0.05,
    "hps": 0.5,
    "faithful": 0.02,
}
OTHER = "2%"  # of a metric that is not named above
LIMITS: dict[str, Margin | None] = {"seconds": "50%", "memory": "25%"}


def of(metric: str, margins: Mapping[str, Margin] | None = None) -> Margin:
    """The margin of a metric: the suite's, else the default."""
    return (margins or {}).get(metric, MARGINS.get(metric, OTHER))


def size(margin: Margin, value: float) -> float:
    """A margin in the metric's unit, where `value` is what is compared with."""
    if isinstance(margin, str):
        return abs(value) * float(margin.rstrip("%")) / 100
    return margin
