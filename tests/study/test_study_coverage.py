"""Simulated studies with a known truth: 95 % intervals hold it in about 95 % of them.

Raters have tastes, prompts suit some contestants better than others, answers within a span are
ties, and the next question is chosen as the server chooses it. Many studies run in lockstep: S
studies, R raters, P prompts, K contestants, Q pairs, I = P Q questions. `python
tests/study/test_study_coverage.py STUDIES` prints the table of docs/study.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.study.choose import Item, uncertainty
from bench.study.desk import kinds, shared_order
from bench.study.shares import Share, share
from bench.study.strengths import Ballots, fit, prior, strengths

TRUE = np.array([0.8, 0.3, -0.3, -0.8])
K, TIE = len(TRUE), 0.3
PAIRS = np.triu(np.ones((K, K), bool), 1)
A, B = np.nonzero(PAIRS)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    """Raters with so many votes each, on so many prompts; taste and suits: spreads by rater and by
    prompt of a contestant's worth; circle: how much further than by strengths each is ahead of the
    next, and the last of the first.  lead: TRUE times this is how good contestants are."""

    votes: tuple[int, ...]
    prompts: int = 24
    taste: float = 0.4
    suits: float = 0.6
    circle: float = 0.0
    lead: float = 1.0

    @property
    def worth(self) -> Array:
        """How good contestants are on the whole: [K]."""
        return self.lead * TRUE

    @property
    def gaps(self) -> Array:
        """How much further than by its worth the row's contestant is ahead: [K, K]."""
        ahead = np.roll(np.eye(K), 1, axis=1)
        return self.circle * (ahead - ahead.T)


ROWS = {
    "3 x 60": Study((60,) * 3),
    "5 x 60": Study((60,) * 5),
    "10 x 60": Study((60,) * 10),
    "20 x 30": Study((30,) * 20),
    "140 to 10": Study((140, 60, 60, 30, 20, 10)),
    "6 x 60, own tastes": Study((60,) * 6, taste=0.9),
    "3 x 60, own tastes": Study((60,) * 3, taste=0.9),
    "10 x 60, in circles": Study((60,) * 10, circle=0.8),
    "20 x 60, in circles": Study((60,) * 20, circle=0.8),
    "10 x 60, all alike": Study((60,) * 10, taste=0.0, suits=0.0),
}


def long_run(study: Study) -> tuple[Array, Array]:
    """(strengths, shares [K, K]) that infinitely many votes come to, every pair equally often."""
    rng = np.random.default_rng(1)
    spread = np.sqrt(2 * (study.taste**2 + study.suits**2))
    noise = spread * rng.normal(size=200_000) + rng.logistic(size=200_000)
    gap = study.worth[:, None] - study.worth[None, :] + study.gaps
    shares = np.array([[np.where(abs(g + noise) < TIE, 0.5, g + noise > 0).mean() for g in row]
                       for row in gap])  # fmt: skip
    shares = (shares + 1 - shares.T) / 2
    return fit(np.where(np.eye(K, dtype=bool), 0.0, shares)), shares


def newton(wins: Array, values: Array, steps: int) -> tuple[Array, Array]:
    """(strengths [S, K], covariances [S, K, K]) of S tables of wins, from strengths nearby."""
    total, one = wins + wins.transpose(0, 2, 1), np.eye(K)
    for _ in range(steps):
        p = 1 / (1 + np.exp(values[:, None, :] - values[:, :, None]))
        weights = total * p * (1 - p)
        inside = one * weights.sum(axis=2)[:, :, None] - weights
        covariance = np.linalg.inv(inside + 1 / K) - 1 / K  # 1 / K each: strengths sum to 0
        values = values + np.einsum("skl,sl->sk", covariance, (wins - total * p).sum(axis=2))
    return values, covariance


def certainty(wins: Array, values: Array) -> tuple[Array, Array]:
    """(strengths, `uncertainty` of every pair [S, Q]) of S studies."""
    values, covariance = newton(wins, values, 3)
    spread = np.einsum("skk->sk", covariance)
    variance = spread[:, A] + spread[:, B] - 2 * covariance[:, A, B]
    p = 1 / (1 + np.exp(values[:, B] - values[:, A]))
    return values, (p * (1 - p) * np.sqrt(np.maximum(variance, 0))).round(6)


def held(study: Study, studies: int, seed: int) -> list[Ballots]:
    """Studies, raters voting in turn."""
    rng, every, raters = np.random.default_rng(seed), np.arange(studies), len(study.votes)
    taste = study.taste * rng.normal(size=(studies, raters, K))
    suits = study.suits * rng.normal(size=(studies, study.prompts, K))
    items = [Item(p, a, b) for p in range(study.prompts) for a, b in zip(A, B, strict=True)]
    together = [items.index(item) for item in shared_order(items, "secret")]
    pair, left = (
        np.tile(np.arange(len(A)), study.prompts),
        np.ones((studies, raters, len(items)), bool),
    )
    wins = np.tile(prior(PAIRS), (studies, 1, 1))
    values, errors = certainty(wins, np.zeros((studies, K)))
    seen, rows = np.zeros((studies, len(items))), []
    for place, rater in turns(study):
        open_, mine = left[:, rater], kinds_of(rater)[place]
        if mine == "shared":
            item = np.array(together)[open_[:, together].argmax(axis=1)]
        else:
            least = np.where(open_, -errors[:, pair], np.inf)
            among = np.where(least == least.min(axis=1, keepdims=True), seen, np.inf)
            item = (among + rng.random(among.shape)).argmin(axis=1)
        prompt, a, b = item // len(A), A[pair[item]], B[pair[item]]
        worth = study.worth + taste[:, rater] + suits[every, prompt]
        gap = worth[every, a] - worth[every, b] + study.gaps[a, b] + rng.logistic(size=studies)
        won = np.where(abs(gap) < TIE, 0.5, gap > 0)
        left[every, rater, item] = False
        seen[every, item] += 1
        wins[every, a, b] += won
        wins[every, b, a] += 1 - won
        values, errors = certainty(wins, values)
        rows.append((a, b, won, np.full(studies, rater), prompt))
    columns = [np.stack(column, axis=1) for column in zip(*rows, strict=True)]
    return [Ballots(*(column[s] for column in columns)) for s in every]


def turns(study: Study) -> list[tuple[int, int]]:
    """(which vote of a rater, rater), all raters in turn as long as they go on."""
    return [(v, r) for v in range(max(study.votes)) for r, n in enumerate(study.votes) if v < n]


def kinds_of(rater: int) -> list[str]:
    """What kinds of questions a rater gets, checks left out."""
    blocks = (kinds("secret", rater, block) for block in range(20))
    return [kind for block in blocks for kind in block if kind != "check"]


@dataclass(frozen=True)
class Coverage:
    """Shares of 95 % intervals that hold the long run's strengths, and shares of pairs; bias: the
    largest mean error of a strength.  claims: in how many studies a pair was said to differ, at 5 %
    over all pairs, whichever way round."""

    strengths: float
    shares: float
    bias: float
    claims: float


def coverage(study: Study, studies: int, seed: int = 0) -> Coverage:
    """What became of so many studies."""
    values, truth = long_run(study)
    strength, pair, off, claims = [], [], np.zeros(K), 0
    for ballots in held(study, studies, seed):
        found = strengths(ballots, PAIRS)
        strength += [e.low <= v <= e.high for e, v in zip(found, values, strict=True)]
        off += [e.value - v for e, v in zip(found, values, strict=True)]
        of_pairs = shares_of(ballots)
        pair += [one.low <= truth[q] <= one.high for q, one in of_pairs.items()]
        level = 1 - 0.05 / len(A)
        claims += any(abs(one.value - 0.5) > one.reach(level) for one in of_pairs.values())
    bias = float(np.abs(off / studies).max())
    return Coverage(float(np.mean(strength)), float(np.mean(pair)), bias, claims / studies)


def shares_of(ballots: Ballots) -> dict[tuple[int, int], Share]:
    """The shares of all pairs with more than five votes."""
    masks = {(a, b): (ballots.first == a) & (ballots.second == b)
             for a, b in zip(A, B, strict=True)}  # fmt: skip
    return {pair: share(ballots.where(mask)) for pair, mask in masks.items() if mask.sum() > 5}


def test_simulated_studies_ask_as_the_server_does() -> None:
    """Every question is one that the server's own rule allows."""
    (ballots,) = held(Study((12, 12), prompts=6), 1, 3)
    wins, seen, had = np.zeros((K, K)), np.zeros((6, K, K)), np.zeros((2, 6, K, K), bool)
    asked = zip(turns(Study((12, 12))), ballots.first, ballots.second, ballots.prompt, ballots.won,
                strict=True)  # fmt: skip
    for (place, rater), a, b, prompt, won in asked:
        assert not had[rater, prompt, a, b]
        if kinds_of(rater)[place] == "chosen":
            errors = np.where(PAIRS & ~had[rater].all(axis=0), uncertainty(wins, PAIRS), 0)
            assert errors[a, b] == pytest.approx(errors.max(), abs=3e-6)
            assert seen[prompt, a, b] == seen[~had[rater, :, a, b], a, b].min()
        had[rater, prompt, a, b] = True
        seen[prompt, a, b] += 1
        wins[a, b] += won
        wins[b, a] += 1 - won


def test_intervals_hold_the_truth_in_a_few_studies() -> None:
    found = coverage(Study((20,) * 6), 60)
    assert min(found.strengths, found.shares) > 0.88 and found.bias < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_intervals_hold_the_truth(name: str) -> None:
    found = coverage(ROWS[name], 600, seed=2026)
    print(name, found)
    # Raters and prompts that do not differ at all cannot be told from such that differ a little.
    most = 0.99 if "alike" in name else 0.97
    assert 0.93 <= found.strengths <= most
    assert 0.93 <= found.shares <= most
    assert found.bias < 0.08


@pytest.mark.slow
@pytest.mark.parametrize(("raters", "taste"), [(3, 0.4), (6, 0.9), (10, 0.4), (10, 1.6)])
def test_where_nobody_is_better_few_studies_claim_it(raters: int, taste: float) -> None:
    """At most 5 % by Holm's rule, and two standard errors of 400 studies."""
    study = Study((60,) * raters, taste=taste, lead=0.0)
    assert coverage(study, 400, seed=2026).claims <= 0.072


if __name__ == "__main__":
    import sys

    for row, given in ROWS.items():
        print(row, coverage(given, int(sys.argv[1]), seed=2026), flush=True)
