"""Votes -> Bradley-Terry strengths; intervals for new raters and new prompts.

    P(i is preferred to j) = 1 / (1 + exp(s_j - s_i)),  strengths s sum to 0.

A tie, or both bad, is half a vote for either side. Votes are weighted so that every pair that was
asked counts the same: unweighted, pairs would count by how often they were asked, and circular
preferences would get strengths that depend on the choice of questions.

Votes of one rater, and votes on one prompt, depend on each other, so variances are those of sums
over raters and over prompts (Cameron, Gelbach and Miller 2011, equation 2.11: by rater + by prompt
- by both). Three corrections make them hold with few raters (docs/study.md has the coverage,
`tests/study/test_study_coverage.py -m slow` measures it):

- residuals are smaller than the errors they stand for, since the fit has followed both the raters'
  and the prompts' part: the sum is divided by the share of pairs of votes that have neither rater
  nor prompt in common. That is exact where every rater votes once on every prompt;
- Student's quantiles, with Satterthwaite's degrees of freedom for that *difference*, and for each
  of its parts those of Bell and McCaffrey 2002, which fall where one rater gives most votes;
- as many votes are added before the fit as remove the first-order bias (Firth 1993) at the variance
  that was found, not at that of independent votes (Kosmidis and Lunardon 2024).
"""

from __future__ import annotations

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

    @property
    def weights(self) -> Array:
        """The weight of each vote, [n], mean 1: every pair that was asked has the same total."""
        sides = np.sort([self.first, self.second], axis=0)
        _, pair, asked = np.unique(sides, axis=1, return_inverse=True, return_counts=True)
        return np.asarray(len(self) / len(asked) / asked[pair.ravel()], np.float64)

    def wins(self, contestants: int) -> Array:
        """[K, K]: weights of the votes by which the row's contestant was preferred to the column's,
        ties half."""
        table, weights = np.zeros((contestants, contestants)), self.weights
        np.add.at(table, (self.first, self.second), weights * self.won)
        np.add.at(table, (self.second, self.first), weights * (1 - self.won))
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
    wins, added = ballots.wins(len(pairs)), prior(pairs)
    first = fit(wins + added)
    bread = _bread(wins + added, first)
    errors, _ = _errors(_influence(ballots, first, bread), ballots)
    effect = max(1.0, float((errors**2).sum() / np.trace(bread)))
    values = fit(wins + effect * added)
    bread = _bread(wins + added, values)
    errors, freedom = _errors(_influence(ballots, values, bread), ballots)
    return [
        Estimate(float(v), float(e), float(f), float(v - t * e), float(v + t * e))
        for v, e, f, t in zip(values, errors, freedom, _student(freedom), strict=True)
    ]


def _bread(wins: Array, values: Array) -> Array:
    return np.asarray(np.linalg.pinv(information(wins, values), hermitian=True), np.float64)


def _influence(ballots: Ballots, values: Array, bread: Array) -> Array:
    """[n, K]: one vote's part in each strength."""
    rest = ballots.won - 1 / (1 + np.exp(values[ballots.second] - values[ballots.first]))
    rest = rest * ballots.weights
    return np.asarray((bread[ballots.first] - bread[ballots.second]) * rest[:, None], np.float64)


@dataclass(frozen=True)
class _Clusters:
    """Votes in groups that depend on each other.

    squares: of each group's sum of influences, added up, [K].  shared: the share of pairs of votes
    that are of one group, by weight.  freedom: of a weighted mean's variance by these groups, were
    votes independent.
    """

    squares: Array
    shared: float
    freedom: float

    @property
    def variance(self) -> Array:
        """The variance of the estimates if only votes of one group depend on each other."""
        return self.squares / (1 - self.shared)


def _errors(influence: Array, ballots: Ballots) -> tuple[Array, Array]:
    """(standard errors, their degrees of freedom), [K] each, from n influences.

    influence: [n, K], one vote's part in each estimate.  With one rater, or one prompt, the errors
    are for new prompts, or new raters, only; with one of each, votes count as independent.
    """
    raters, prompts = codes(ballots.rater), codes(ballots.prompt)
    labels = [group for group in (raters, prompts) if group.max() > 0]
    weights = ballots.weights
    parts = [_clusters(influence, weights, group) for group in labels or [np.arange(len(weights))]]
    total = np.max([part.variance for part in parts], axis=0)
    if len(parts) > 1:
        both = _clusters(influence, weights, codes(raters * (prompts.max() + 1) + prompts))
        summed = parts[0].squares + parts[1].squares - both.squares
        apart = 1 - (parts[0].shared + parts[1].shared - both.shared)
        total = np.maximum(total, summed / apart)
    spread = sum(part.variance**2 / part.freedom for part in parts)
    even = len(parts) ** 2 / sum(1 / part.freedom for part in parts)  # votes that never differ
    freedom = np.divide(total**2, spread, where=spread > 0, out=np.full(len(total), even))
    return np.sqrt(total), freedom


def codes(labels: Ids) -> Ids:
    """Labels as numbers from 0 on."""
    return np.asarray(np.unique(labels, return_inverse=True)[1], np.int64)


def _clusters(influence: Array, weights: Array, groups: Ids) -> _Clusters:
    sums = np.zeros((int(groups.max()) + 1, influence.shape[1]))
    np.add.at(sums, groups, influence)
    parts = np.bincount(groups, weights) / weights.sum()
    shared = min(float((parts**2).sum()), 1 - 1e-9)  # one vote alone says nothing of its error
    return _Clusters((sums**2).sum(axis=0), shared, freedom(parts))


def freedom(parts: Array) -> float:
    """Bell and McCaffrey's degrees of freedom of a mean's variance from the sums of clusters with
    these shares of all independent votes: their number less one where the clusters are alike."""
    scaled = parts / np.sqrt(np.maximum(1 - parts, 1e-9))
    mixed = (scaled**2).sum() ** 2 - (scaled**4).sum()
    return float(max(1.0, 1 / ((parts**2).sum() + mixed)))


def _student(freedom: Array) -> Array:
    from scipy.special import stdtrit

    return np.asarray(stdtrit(freedom, 0.975), np.float64)
