"""Votes -> Bradley-Terry strengths and shares of votes; intervals for new raters and prompts.

    P(i is preferred to j) = 1 / (1 + exp(s_j - s_i)),  strengths s sum to 0.

A tie, or both bad, is half a vote for either side. Votes of one rater, and votes on one prompt,
depend on each other, so variances are those of sums over raters and over prompts (Cameron, Gelbach
and Miller 2011, equation 2.11: by rater + by prompt - by both), and normal quantiles are replaced
by Student's with the degrees of freedom of Satterthwaite 1946 for that sum of variances.

Coverage is measured by `tests/study/test_coverage.py -m slow`; docs/study.md has the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Ballots:
    """n votes: contestants `first` and `second` by number, `won` by the first (1, 0.5 or 0), and
    who voted on which prompt; [n] each."""

    first: Ids
    second: Ids
    won: Array
    rater: Ids
    prompt: Ids

    def __len__(self) -> int:
        return len(self.won)

    def where(self, chosen: NDArray[np.bool_]) -> Ballots:
        """The votes that a mask chooses."""
        columns = (self.first, self.second, self.won, self.rater, self.prompt)
        return Ballots(*(column[chosen] for column in columns))  # type: ignore[arg-type]

    def wins(self, contestants: int) -> Array:
        """[K, K]: how often the row's contestant was preferred to the column's, ties half."""
        table = np.zeros((contestants, contestants))
        np.add.at(table, (self.first, self.second), self.won)
        np.add.at(table, (self.second, self.first), 1 - self.won)
        return table


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error, its degrees of freedom and a 95 % interval."""

    value: float
    error: float
    freedom: float
    low: float
    high: float


def prior(pairs: NDArray[np.bool_]) -> Array:
    """Votes that are added so that no strength is infinite: [K, K], symmetric.

    pairs: [K, K], which are compared in the study.  K - 1 votes in all, as many as there are free
    strengths, spread evenly over the pairs and half to either side. For two contestants these are
    Jeffreys' halves, the bias reduction of Firth 1993.
    """
    compared = pairs | pairs.T
    return np.where(compared, (len(pairs) - 1) / max(1, compared.sum()), 0.0)


def fit(wins: Array) -> Array:
    """Strengths [K] with mean 0 that make the wins ([K, K], positive between compared pairs, which
    connect all contestants) most likely."""
    import choix

    found = choix.ilsr_pairwise_dense(wins, max_iter=1000, tol=1e-7)
    return np.asarray(found - found.mean(), np.float64)


def information(wins: Array, strengths: Array) -> Array:
    """Fisher's information of the strengths: [K, K], singular along the ones."""
    p = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    weights = (wins + wins.T) * p * (1 - p)
    return np.asarray(np.diag(weights.sum(axis=1)) - weights, np.float64)


def strengths(ballots: Ballots, pairs: NDArray[np.bool_]) -> list[Estimate]:
    """Each contestant's strength, against the mean of all; 95 % intervals.

    pairs: [K, K], which contestants are compared; the pairs must connect all of them.
    """
    wins = ballots.wins(len(pairs)) + prior(pairs)
    values = fit(wins)
    bread = np.linalg.pinv(information(wins, values), hermitian=True)
    gap = values[ballots.first] - values[ballots.second]
    rest = ballots.won - 1 / (1 + np.exp(-gap))
    influence = (bread[ballots.first] - bread[ballots.second]) * rest[:, None]
    errors, freedom = _errors(influence, ballots)
    return [
        Estimate(float(v), float(e), float(f), float(v - t * e), float(v + t * e))
        for v, e, f, t in zip(values, errors, freedom, _student(freedom), strict=True)
    ]


def share(ballots: Ballots) -> Estimate:
    """Share of votes for the first of a pair, ties half: Wilson's interval, with as many votes as
    would be independent at the same variance; the error is that of a share of one half.
    All votes must be of one pair, in one order."""
    n = len(ballots)
    p = float(ballots.won.mean())
    errors, freedom = _errors((ballots.won - p)[:, None] / n, ballots)
    error, t = float(errors[0]), float(_student(freedom)[0])
    worth = min(n, p * (1 - p) / error**2) if error > 0 else n
    middle = (p + t * t / (2 * worth)) / (1 + t * t / worth)
    half = t / (1 + t * t / worth) * math.sqrt(p * (1 - p) / worth + (t / (2 * worth)) ** 2)
    low, high = max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p))
    return Estimate(p, math.sqrt(0.25 / worth), float(freedom[0]), low, high)


def even_p(found: Estimate) -> float:
    """Two-sided p of a share against one half, the test that Wilson's interval inverts."""
    from scipy.special import stdtr

    return float(2 * stdtr(found.freedom, -abs(found.value - 0.5) / found.error))


def _errors(influence: Array, ballots: Ballots) -> tuple[Array, Array]:
    """(standard errors, their degrees of freedom), [K] each, from n influences.

    influence: [n, K], one vote's part in each estimate.  With one rater the errors are for new
    prompts only.
    """
    raters, prompts = _codes(ballots.rater), _codes(ballots.prompt)
    both = _codes(raters * (prompts.max() + 1) + prompts)
    by_prompt = _variance(influence, prompts)
    parts = [(by_prompt, prompts.max())]
    total = by_prompt
    if raters.max() > 0:
        by_rater = _variance(influence, raters)
        parts.append((by_rater, raters.max()))
        summed = by_rater + by_prompt - _variance(influence, both)
        total = np.maximum(summed, np.maximum(by_rater, by_prompt))
    spread = sum(part**2 / max(1, free) for part, free in parts)
    whole = sum(part for part, _ in parts) ** 2
    even = len(parts) ** 2 / sum(1 / max(1, free) for _, free in parts)  # as if parts were equal
    freedom = np.divide(whole, spread, where=spread > 0, out=np.full(len(total), float(even)))
    return np.sqrt(total), freedom


def _codes(labels: Ids) -> Ids:
    return np.asarray(np.unique(labels, return_inverse=True)[1], np.int64)


def _variance(influence: Array, clusters: Ids) -> Array:
    """Variance of the sum of the influences, those of one cluster free to depend on each other."""
    groups = int(clusters.max()) + 1
    sums = np.zeros((groups, influence.shape[1]))
    np.add.at(sums, clusters, influence)
    return np.asarray((sums**2).sum(axis=0) * groups / max(1, groups - 1), np.float64)


def _student(freedom: Array) -> Array:
    from scipy.special import stdtrit

    return np.asarray(stdtrit(freedom, 0.975), np.float64)
