"""The difference of two contestants on one metric, paired by prompt: value, interval, tests.

x, y: [G] one value per prompt of either contestant, in the same order; d = x - y.

    mean      bootstrap interval over prompts; t tests with G - 1 degrees of freedom
    share     right and wrong: one prompt that only x has right and one that only y has are added
              before the plain interval (Bonett and Price 2012). A bootstrap of d fails where few
              prompts differ: with none it says [0, 0], as if N were infinite.
    distance  Frechet: value +- 1.96 standard errors of the difference of the influences

What the 95 % interval covers: the expected difference over sets of prompts drawn as these were, at
this number of them, weights and reference held as they are.

Coverage, measured by `tests/statistics/test_coverage.py -m slow`: shares at 1,000 prompts 95.4 to
96.3 %, and more (up to 100 %) where fewer than ten prompts differ; the others are those of
`bench.statistics.intervals` and `bench.metrics.frechet`; the whole table is in docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.statistics.intervals import (
    bootstrap_interval,
    flips_for,
    normal_p,
    quantile_of_normal,
    sign_flip_p,
    standard_error,
    wilson_interval,
)
from bench.statistics.result import UNTESTED, Array, Ids, Result


@dataclass(frozen=True)
class Difference:
    """delta = x - y with its 95 % interval [low, high].

    centre, error: what tests against a margin start from (centre is delta but for shares).
    freedom: degrees of freedom of `error`, infinite for a normal one.  prompts: G.
    """

    delta: float
    low: float
    high: float
    centre: float
    error: float
    freedom: float
    prompts: int

    def p_above(self, bound: float) -> float:
        """One-sided p of "the true difference is `bound` or less"; small shows that it is more."""
        if self.error == 0.0:
            return 0.0 if self.centre > bound else 1.0
        from scipy.special import stdtr

        z = (bound - self.centre) / self.error
        if math.isinf(self.freedom):
            return 0.5 * math.erfc(-z / math.sqrt(2))
        return float(stdtr(self.freedom, z))

    def p_below(self, bound: float) -> float:
        """One-sided p of "the true difference is `bound` or more"; small shows that it is less."""
        mirrored = Difference(-self.delta, -self.high, -self.low, -self.centre, self.error,
                              self.freedom, self.prompts)  # fmt: skip
        return mirrored.p_above(-bound)

    @property
    def normal_p(self) -> float:
        """Two-sided p of "there is no difference" by the normal distribution."""
        return normal_p(self.delta, self.error)


def shared(a: Result, b: Result) -> tuple[Ids, Array, Array] | None:
    """(prompts that both have, scores of a, scores of b), [G] each; None without scores."""
    if a.per_prompt is None or b.per_prompt is None:
        return None
    ids, i, j = np.intersect1d(a.prompts, b.prompts, assume_unique=True, return_indices=True)
    return ids, a.per_prompt[i], b.per_prompt[j]


def refusal(a: Result, b: Result) -> str | None:
    """Why two results cannot be compared, in words; None where they can.

    A distance depends on how many images it is of, so it is compared at one N and one set of
    prompts only; scores are compared on the prompts that both have.
    """
    if a.per_prompt is not None and b.per_prompt is not None:
        common = len(np.intersect1d(a.prompts, b.prompts))
        return None if common > 1 else f"only {common} prompts in common"
    if a.by_prompt is None or b.by_prompt is None:
        return UNTESTED
    if a.n != b.n:
        return f"a distance of {a.n:,} images and one of {b.n:,} cannot be compared"
    if a.influence is None or b.influence is None:
        return "one has scores of single prompts, the other has not"
    if not np.array_equal(a.prompts, b.prompts):
        return "distances are of other prompts"
    return None


def difference(a: Result, b: Result, *, seed: int = 0) -> Difference:
    """a - b, paired. Raises ValueError where `refusal` has something to say."""
    reason = refusal(a, b)
    if reason is not None:
        raise ValueError(reason)
    scores = shared(a, b)
    if scores is None:
        return _of_distances(a, b)
    _, x, y = scores
    return _of_shares(x, y) if a.kind == "share" else _of_means(x, y, seed)


def flip_p(pairs: Sequence[tuple[Result, Result]], *, seed: int = 0) -> list[float | None]:
    """Two-sided p by sign flips of every pair that has scores, None for distances.

    pairs: one family, adjusted together, which says how many flips there are.  Those on the same
    prompts share the flips.
    """
    p: list[float | None] = [None] * len(pairs)
    columns: dict[bytes, list[tuple[int, Array]]] = {}
    for number, (a, b) in enumerate(pairs):
        scores = shared(a, b)
        if scores is not None:
            ids, x, y = scores
            columns.setdefault(ids.tobytes(), []).append((number, x - y))
    flips = flips_for(len(pairs))
    for same in columns.values():
        found = sign_flip_p(np.stack([d for _, d in same], axis=1), flips=flips, seed=seed)
        for (number, _), value in zip(same, found, strict=True):
            p[number] = float(value)
    return p


def _of_means(x: Array, y: Array, seed: int) -> Difference:
    d = x - y
    low, high = bootstrap_interval(d, seed=seed)
    delta = float(d.mean())
    return Difference(delta, low, high, delta, standard_error(d), len(d) - 1, len(d))


def _of_shares(x: Array, y: Array) -> Difference:
    d = np.append(x - y, [1.0, -1.0])
    centre = float(d.mean())
    error = float(d.std() / math.sqrt(len(d)))
    delta, reach = float((x - y).mean()), quantile_of_normal() * error
    low, high = min(delta, centre - reach), max(delta, centre + reach)
    return Difference(delta, max(-1.0, low), min(1.0, high), centre, error, math.inf, len(x))


def _of_distances(a: Result, b: Result) -> Difference:
    assert a.influence is not None
    assert b.influence is not None
    delta = a.value - b.value
    error = standard_error(a.influence - b.influence)
    reach = quantile_of_normal() * error
    return Difference(delta, delta - reach, delta + reach, delta, error, math.inf, len(a.influence))


@dataclass(frozen=True)
class WinCount:
    """On how many prompts x is better, equal, worse; rate: ties half, with a 95 % interval."""

    wins: int
    ties: int
    losses: int
    rate: float
    low: float
    high: float


def wins(x: Array, y: Array, *, higher_is_better: bool) -> WinCount:
    """Who is better on how many prompts. The interval is Wilson's, with the prompts as units."""
    ahead = np.sign(x - y) if higher_is_better else np.sign(y - x)
    points = 0.5 + 0.5 * ahead
    low, high = wilson_interval(points)
    won, tied, lost = (int((ahead == side).sum()) for side in (1, 0, -1))
    return WinCount(won, tied, lost, float(points.mean()), low, high)
