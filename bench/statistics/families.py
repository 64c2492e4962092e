"""The comparisons that a suite asks for, and the adjustment of p values.

    primary:
      - {of: hyper_sd, metrics: [fid, clip, aesthetic]}              # against all at the same steps
      - {of: tscd, against: tcd, metrics: clip, steps: [2, 4]}

Primary comparisons are one family: Holm, so that the chance of any false finding among them is
below 5 %. All others are exploratory: Benjamini and Hochberg (1995), by which of what is found at
most 5 % is false on average, and which a page marks. A suite that names none has primary ones only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike

from bench.results.summary import Contestant, Family
from bench.statistics.intervals import Array, holm
from bench.statistics.metrics import METRICS
from hypersd.validation import Count, OneOrMore, Text, one_of


@dataclass(frozen=True)
class Primary:
    """Comparisons of the methods `of` with those `against` (None: all but the teacher) on metrics,
    at these numbers of steps (None: at all). Comparisons of rows or metrics that a run does not
    have are left out."""

    of: OneOrMore[Text]
    metrics: OneOrMore[Annotated[str, one_of(METRICS)]]
    against: OneOrMore[Text] | None = None
    steps: OneOrMore[Count] | None = None

    def names(self, a: Contestant, b: Contestant, metric: str) -> bool:
        """Whether it names the comparison of a and b."""
        if metric not in self.metrics or (self.steps is not None and a.steps not in self.steps):
            return False
        return self._sides(a.method, b.method) or self._sides(b.method, a.method)

    def _sides(self, one: str, other: str) -> bool:
        rivals = self.against
        return one in self.of and (other != "teacher" if rivals is None else other in rivals)


def family(primary: Sequence[Primary], a: Contestant, b: Contestant, metric: str) -> Family:
    """The family of the comparison of a and b on a metric."""
    if not primary or any(one.names(a, b, metric) for one in primary):
        return "primary"
    return "exploratory"


def adjusted(p_values: ArrayLike, families: Sequence[Family]) -> Array:
    """p values [K], each adjusted within its family [K]."""
    from scipy.stats import false_discovery_control

    p, found = np.asarray(p_values, np.float64), np.empty(len(families))
    primary = np.array([name == "primary" for name in families], dtype=bool)
    found[primary] = holm(p[primary])
    if not primary.all():
        found[~primary] = false_discovery_control(p[~primary])
    return found
