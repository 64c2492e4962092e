"""The variance between trainings of one method, pooled over methods.

    s^2 = sum over methods of sum over trainings of (mean - method's mean)^2 / f,  f = trainings - 1

with f summed over methods. It holds the trainings' own spread and what single prompts add to a
mean, so it is a little too large. That a method spreads as others do is an assumption.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spread:
    """variance: of one training's mean around its method's.  freedom: degrees of freedom."""

    variance: float
    freedom: float


def pooled(parts: Iterable[Spread]) -> Spread | None:
    """The pooled spread of all; None without any."""
    known = [part for part in parts if part.freedom > 0]
    freedom = sum(part.freedom for part in known)
    if freedom == 0:
        return None
    return Spread(sum(part.variance * part.freedom for part in known) / freedom, freedom)


def of_values(values: Iterable[float]) -> Spread:
    """The spread of the means of some trainings of one method."""
    found = np.asarray(list(values), np.float64)
    if len(found) < 2:
        return Spread(0.0, 0.0)
    return Spread(float(found.var(ddof=1)), len(found) - 1.0)


def read(data: Any, steps: int | None, name: str) -> Spread:
    """That of a metric at a number of steps, of {steps: {metric: {"variance", "freedom"}}}; nothing
    where it has none."""
    of = data.get(str(steps), {}).get(name) if isinstance(data, Mapping) else None
    return Spread(0.0, 0.0) if of is None else Spread(float(of["variance"]), float(of["freedom"]))
