"""Shares of votes between two contestants; intervals for new raters and new prompts.

The interval covers the share of votes (ties and both bad half) in the population of raters and
prompts, of which these are a sample; every rater and every prompt counts the same. A vote is

    y = share + a[rater] + b[prompt] + e,      a, b, e independent with mean 0,

so n votes' mean has the variance of n independent votes, and for each of raters and prompts what
votes that have one in common add: var(a) (sum of n_r^2 - n) / n^2. The variances of a, b and e
solve the equations that the sums of squares by rater, by prompt and by vote have on average (the
analysis-of-variance estimators of Searle, Casella and McCulloch 1992, any numbers of votes).

An interval reaches sqrt(z^2 V + sum of parts) to either side (Howe 1974: quantiles of their own,
added in squares), V for independent votes and for each of raters and prompts, of variance C,

    t^2 C + (1 - h) (t^2 - z^2) V    or 0, whichever is larger.

C is a difference of sums of squares, which with few raters is often 0 although raters differ. h = 1
relies on it: three raters who differ much are then covered in 91 % of studies. h = 0 takes t for
all of the variance: 98.7 % where they do not differ. Three quarters lie between; for two raters,
whose variance cannot be estimated, h = 0. docs/study.md has the coverage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import quantile_of_normal
from bench.study.strengths import Array, Ballots, Ids, codes, freedom

TAKEN = 0.75  # h
LEVEL = 0.95


@dataclass(frozen=True)
class Share:
    """A share of votes.

    alone: the variance of independent votes.  added: what votes with a rater, and with a prompt,
    in common add to it, negative where they differ more than chance has it.  freedom: degrees of
    freedom of `added`.  Variances are in units of share (1 - share), as Wilson's interval has them.
    """

    value: float
    alone: float
    added: tuple[float, ...]
    freedom: tuple[float, ...]

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self._interval()[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self._interval()[1]

    @property
    def error(self) -> float:
        """Standard error of a share of one half."""
        return 0.5 * math.sqrt(self.alone + sum(max(0.0, part) for part in self.added))

    def reach(self, level: float) -> float:
        """Half the width of the interval of a share of one half."""
        return 0.5 * math.sqrt(self._squared(level))

    def grown(self, times: float) -> Share:
        """The share with `times` times the votes, raters and prompts."""
        freedom = tuple((df + 1) * times - 1 for df in self.freedom)
        return Share(self.value, self.alone / times, tuple(c / times for c in self.added), freedom)

    def _squared(self, level: float) -> float:
        from scipy.special import stdtrit

        z2 = quantile_of_normal(level) ** 2
        total = z2 * self.alone
        for part, df in zip(self.added, self.freedom, strict=True):
            t2 = float(stdtrit(df, 0.5 + level / 2)) ** 2
            taken = TAKEN * min(1.0, df - 1)
            total += max(0.0, t2 * part + (1 - taken) * (t2 - z2) * self.alone)
        return total

    def _interval(self) -> tuple[float, float]:
        """Wilson's, with the squared reach where his has z^2 / n."""
        p, k = self.value, self._squared(LEVEL)
        middle = (p + k / 2) / (1 + k)
        half = math.sqrt(k * p * (1 - p) + k * k / 4) / (1 + k)
        return max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p))


def share(ballots: Ballots) -> Share:
    """Share of votes for the first of a pair, ties half.

    All votes must be of one pair, in one order. With one rater the interval is for new prompts
    only, with one prompt for new raters only.
    """
    n, p = len(ballots), float(ballots.won.mean())
    groups = [codes(ballots.rater), codes(ballots.prompt)]
    variances = _variances(ballots.won, *groups)
    scale = p * (1 - p)
    parts = [np.bincount(group) / n for group in groups]
    added = [
        float(v * ((part**2).sum() - 1 / n) / scale) if scale > 0 else 0.0
        for v, part in zip(variances, parts, strict=True)
    ]
    several = [i for i, part in enumerate(parts) if len(part) > 1]
    return Share(
        p, _spread(ballots.won) / n, tuple(added[i] for i in several),
        tuple(freedom(parts[i]) for i in several),
    )  # fmt: skip


def even_p(found: Share) -> float:
    """Two-sided p of a share against one half, the test that the interval inverts."""
    from scipy.optimize import brentq

    def beyond(level: float) -> float:
        return abs(found.value - 0.5) - found.reach(level)

    if beyond(0.0) <= 0:
        return 1.0
    most = 1 - 1e-12
    return 1 - most if beyond(most) >= 0 else 1 - float(brentq(beyond, 0.0, most))


def _spread(won: Array) -> float:
    """Variance of one vote in units of p (1 - p): 1 without ties, less with them. A vote more for
    either side, so that votes that never differ still have one."""
    more = np.append(won, [0.0, 1.0])
    p = float(more.mean())
    return float(more.var() / (p * (1 - p)))


def _variances(won: Array, raters: Ids, prompts: Ids) -> Array:
    """Variances of a and b, without bias, so that they may be negative; [2]."""
    n, rest = len(won), won - won.mean()
    table = np.zeros((int(raters.max()) + 1, int(prompts.max()) + 1))
    np.add.at(table, (raters, prompts), 1)
    by_rater, by_prompt = table.sum(axis=1), table.sum(axis=0)

    def overlap(counts: NDArray[np.float64], left: Array, right: Array) -> float:
        return float(((counts - np.outer(left, right) / n) ** 2).sum())

    rr = overlap(np.diag(by_rater), by_rater, by_rater)
    pp = overlap(np.diag(by_prompt), by_prompt, by_prompt)
    rp = overlap(table, by_rater, by_prompt)
    r1, p1 = (n - (counts**2).sum() / n for counts in (by_rater, by_prompt))
    sums = [(np.bincount(group, rest) ** 2).sum() for group in (raters, prompts)]
    expected = np.array([[rr, rp, r1], [rp, pp, p1], [r1, p1, n - 1.0]])
    solved = np.linalg.lstsq(expected, np.array([*sums, (rest**2).sum()]), rcond=None)[0]
    return np.asarray(solved[:2], np.float64)
