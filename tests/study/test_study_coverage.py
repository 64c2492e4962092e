"""Simulated studies with a known truth: 95 % intervals hold it in about 95 % of them.

Raters have tastes, prompts suit some contestants better than others, answers within a span are
ties, and the next pair is chosen as the server chooses it. Run with -m slow for the figures in
docs/study.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bench.study.choose import Item, next_item
from bench.study.strengths import Ballots, fit, share, strengths

TRUE = np.array([0.8, 0.3, -0.3, -0.8])
K, TIE = len(TRUE), 0.3
PAIRS = np.triu(np.ones((K, K), bool), 1)


@dataclass(frozen=True)
class Study:
    """raters with so many votes each, on so many prompts; taste and fit: spreads by rater and by
    prompt of a contestant's worth."""

    raters: int
    votes: int = 60
    prompts: int = 24
    taste: float = 0.4
    fit: float = 0.6


def long_run(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """(strengths, shares [K, K]) that infinitely many votes come to, every pair equally often."""
    rng = np.random.default_rng(1)
    spread = np.sqrt(2 * (study.taste**2 + study.fit**2))
    noise = spread * rng.normal(size=200_000) + rng.logistic(size=200_000)
    gap = TRUE[:, None] - TRUE[None, :]
    shares = np.array([[np.where(abs(g + noise) < TIE, 0.5, g + noise > 0).mean() for g in row]
                       for row in gap])  # fmt: skip
    shares = (shares + 1 - shares.T) / 2
    return fit(np.where(np.eye(K, dtype=bool), 0.0, shares)), shares


def held(study: Study, rng: np.random.Generator) -> Ballots:
    """One study, raters voting in turn."""
    taste = study.taste * rng.normal(size=(study.raters, K))
    suits = study.fit * rng.normal(size=(study.prompts, K))
    items = [Item(p, a, b) for p in range(study.prompts) for a, b in np.argwhere(PAIRS)]
    left = [dict.fromkeys(items) for _ in range(study.raters)]
    wins, seen, rows = np.zeros((K, K)), {}, []
    for _ in range(study.votes):
        for rater in range(study.raters):
            item = next_item(list(left[rater]), seen, wins, PAIRS, rng)
            assert item is not None
            del left[rater][item]
            p, a, b = item.prompt, item.a, item.b
            worth = TRUE + taste[rater] + suits[p]
            gap = worth[a] - worth[b] + rng.logistic()
            won = 0.5 if abs(gap) < TIE else float(gap > 0)
            wins[a, b] += won
            wins[b, a] += 1 - won
            seen[item] = seen.get(item, 0) + 1
            rows.append((a, b, won, rater, p))
    first, second, won, rater, prompt = map(np.array, zip(*rows, strict=True))
    return Ballots(first, second, won, rater, prompt)


def coverage(study: Study, studies: int, seed: int = 0) -> tuple[float, float, float]:
    """(share of strengths covered, share of pair shares covered, mean error of the strengths)."""
    values, shares = long_run(study)
    rng = np.random.default_rng(seed)
    strength, pair, off = [], [], np.zeros(K)
    for _ in range(studies):
        ballots = held(study, rng)
        found = strengths(ballots, PAIRS)
        strength += [e.low <= v <= e.high for e, v in zip(found, values, strict=True)]
        off += [e.value - v for e, v in zip(found, values, strict=True)]
        for a, b in np.argwhere(PAIRS):
            chosen = (ballots.first == a) & (ballots.second == b)
            if chosen.sum() > 5:
                one = share(ballots.where(chosen))
                pair.append(one.low <= shares[a, b] <= one.high)
    return float(np.mean(strength)), float(np.mean(pair)), float(np.abs(off / studies).max())


def test_intervals_hold_the_truth_in_a_few_studies() -> None:
    strength, pair, off = coverage(Study(raters=6, votes=20), 30)
    assert strength > 0.86 and pair > 0.86 and off < 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "least", "most"),
    [
        (Study(raters=3), 0.90, 0.98),
        (Study(raters=5), 0.90, 0.98),
        (Study(raters=10), 0.90, 0.98),
        (Study(raters=10, taste=0.0, fit=0.0), 0.92, 0.99),
        (Study(raters=20, votes=30), 0.90, 0.98),
    ],
    ids=str,
)
def test_intervals_hold_the_truth(study: Study, least: float, most: float) -> None:
    strength, pair, off = coverage(study, 400)
    print(f"{study}: strengths {strength:.3f}, shares {pair:.3f}, largest bias {off:.3f}")
    assert least <= strength <= most
    assert least <= pair <= 0.995
    assert off < 0.06


if __name__ == "__main__":
    import sys

    for given in (Study(3), Study(5), Study(10), Study(10, taste=0, fit=0), Study(20, votes=30)):
        print(given, *coverage(given, int(sys.argv[1])), flush=True)
