"""Strengths, shares and intervals against closed forms, choix and simple counts."""

from __future__ import annotations

import math

import choix
import numpy as np
import pytest

from bench.statistics.intervals import wilson_interval
from bench.study.analysis import krippendorff
from bench.study.choose import Item, next_item, uncertainty
from bench.study.shares import even_p, share
from bench.study.strengths import Ballots, fit, prior, strengths

PAIR = np.array([[False, True], [False, False]])


def two(won: list[float], raters: list[int], prompts: list[int]) -> Ballots:
    """Votes between contestants 0 and 1."""
    n = len(won)
    ids = (np.zeros(n, np.int64), np.ones(n, np.int64))
    return Ballots(*ids, np.array(won), np.array(raters), np.array(prompts))


def test_two_contestants_have_the_log_odds_with_jeffreys_halves() -> None:
    ballots = two([1.0] * 30 + [0.0] * 10, list(range(40)), list(range(40)))
    gap = np.subtract(*(e.value for e in strengths(ballots, PAIR)))
    assert gap == pytest.approx(math.log(30.5 / 10.5), abs=1e-6)


def test_independent_votes_have_the_binomial_error() -> None:
    ballots = two([1.0] * 300 + [0.0] * 100, list(range(400)), list(range(400)))
    first, _ = strengths(ballots, PAIR)
    # half the difference's error: sqrt(1 / (n p q)) / 2
    assert first.error == pytest.approx(math.sqrt(1 / (400 * 0.75 * 0.25)) / 2, rel=0.01)
    found = share(ballots)
    low, high = wilson_interval(np.array(ballots.won))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.002)


def test_strengths_of_many_are_those_of_choix_on_the_list_of_votes() -> None:
    rng = np.random.default_rng(0)
    true, votes = np.array([1.0, 0.2, -0.4, -0.8]), []
    for _ in range(400):
        i, j = rng.choice(4, 2, replace=False)
        ahead = rng.random() < 1 / (1 + math.exp(true[j] - true[i]))
        votes.append((i, j) if ahead else (j, i))
    wins = np.zeros((4, 4))
    for winner, loser in votes:
        wins[winner, loser] += 1
    reference = choix.opt_pairwise(4, [(int(a), int(b)) for a, b in votes])
    assert fit(wins) == pytest.approx(reference - reference.mean(), abs=1e-4)


def test_every_pair_that_was_asked_counts_the_same() -> None:
    """In circles the strengths are those of the shares, however often each pair was asked."""
    pairs, shares = np.triu(np.ones((3, 3), bool), 1), {(0, 1): 0.75, (1, 2): 0.75, (0, 2): 0.25}

    def asked(*times: int) -> list[float]:
        votes = [
            (a, b, float(i < n * ahead))
            for ((a, b), ahead), n in zip(shares.items(), times, strict=True)
            for i in range(n)
        ]
        first, second, won = (np.array(column) for column in zip(*votes, strict=True))
        alone = np.arange(len(votes))
        return [e.value for e in strengths(Ballots(first, second, won, alone, alone), pairs)]

    assert asked(400, 400, 400) == pytest.approx([0.0] * 3, abs=1e-6)
    assert asked(4000, 400, 400) == pytest.approx([0.0] * 3, abs=0.01)


def test_a_contestant_that_never_loses_has_a_finite_strength() -> None:
    ballots = two([1.0] * 20, [0, 1] * 10, list(range(20)))
    found = strengths(ballots, PAIR)
    assert np.isfinite([e.value for e in found]).all() and found[0].value > 1
    one = share(ballots)
    assert one.value == 1.0 and one.low < 0.95 and one.high == 1.0


def test_variances_by_rater_and_prompt_are_those_of_the_analysis_of_variance() -> None:
    """Every rater once on every prompt: (mean square - residual mean square) / votes in each."""
    rng = np.random.default_rng(3)
    raters, prompts = 5, 8
    table = rng.choice([0.0, 0.5, 1.0], (raters, prompts), p=(0.3, 0.1, 0.6))
    table[0], table[:, 1] = 1.0, 0.0
    mean, by_rater, by_prompt = table.mean(), table.mean(axis=1), table.mean(axis=0)
    rest = table - by_rater[:, None] - by_prompt[None, :] + mean
    error = (rest**2).sum() / (raters - 1) / (prompts - 1)
    own = [by_rater.var(ddof=1) - error / prompts, by_prompt.var(ddof=1) - error / raters]
    r, p = np.indices(table.shape)
    found = share(two(list(table.ravel()), list(r.ravel()), list(p.ravel())))
    scale = mean * (1 - mean)
    assert found.added[0] * scale == pytest.approx(own[0] * (1 / raters - 1 / table.size))
    assert found.added[1] * scale == pytest.approx(own[1] * (1 / prompts - 1 / table.size))
    assert found.freedom == pytest.approx((raters - 1, prompts - 1))


def test_votes_that_never_differ_are_not_beyond_doubt() -> None:
    ties = share(two([0.5] * 20, [0, 1, 2, 3] * 5, list(range(20))))
    assert 0.4 < ties.low < 0.5 < ties.high < 0.6
    wins = share(two([1.0] * 20, [0, 1, 2, 3] * 5, list(range(20))))
    assert wins.high == 1.0 and wins.low < 0.84  # the Wilson interval of 20 independent votes


def test_repeated_votes_of_one_rater_do_not_count_as_new_ones() -> None:
    """Ten raters who vote ten times alike know as much as ten votes."""
    won = [1.0] * 6 + [0.0] * 4
    once = share(two(won, list(range(10)), list(range(10))))
    alike = two(won * 10, list(range(10)) * 10, list(range(100)))
    assert share(alike).error == pytest.approx(once.error, rel=0.06)
    apart = two(won * 10, list(range(100)), list(range(100)))
    assert share(apart).error == pytest.approx(once.error / math.sqrt(10), rel=0.06)


def test_p_is_below_five_percent_where_the_interval_leaves_out_one_half() -> None:
    for ahead in range(10, 41):
        found = share(two([1.0] * ahead + [0.0] * (50 - ahead), list(range(50)), list(range(50))))
        assert (even_p(found) < 0.05) == (not found.low <= 0.5 <= found.high)


def test_the_prior_is_as_many_votes_as_there_are_strengths() -> None:
    pairs = np.triu(np.ones((5, 5), bool), 1)
    assert prior(pairs).sum() == pytest.approx(4.0)
    assert prior(PAIR).tolist() == [[0.0, 0.5], [0.5, 0.0]]


def test_krippendorff_gives_the_value_of_his_own_example() -> None:
    """Nominal data of four observers and twelve units: alpha = 0.743 (2011, section C)."""
    table = """1 2 3 3 2 1 4 1 2 * * *
               1 2 3 3 2 2 4 1 2 5 * 3
               * 3 3 3 2 3 4 2 2 5 1 *
               1 2 3 3 2 4 4 1 2 5 1 *"""
    rows = [line.split() for line in table.splitlines()]
    counts = np.array([[sum(row[u] == str(v) for row in rows) for v in range(1, 6)]
                       for u in range(12)])  # fmt: skip
    assert krippendorff(counts) == pytest.approx(0.743, abs=0.001)


def test_agreement_by_chance_is_zero_and_full_agreement_one() -> None:
    rng = np.random.default_rng(1)
    answers = rng.integers(0, 3, (4000, 2))
    counts = np.stack([(answers == v).sum(axis=1) for v in range(3)], axis=1)
    assert krippendorff(counts) == pytest.approx(0.0, abs=0.03)
    assert krippendorff(np.array([[2, 0], [0, 3]])) == 1.0


def test_the_least_certain_pair_on_the_least_used_prompt_comes_next() -> None:
    pairs = np.triu(np.ones((3, 3), bool), 1)
    wins = np.array([[0, 30, 30], [10, 0, 2.0], [10, 2.0, 0]])
    errors = uncertainty(wins, pairs)
    assert errors[1, 2] == errors.max() and np.allclose(errors, errors.T)
    items = [Item(p, a, b) for p in range(4) for a, b in ((0, 1), (0, 2), (1, 2))]
    seen = {Item(0, 1, 2): 2, Item(1, 1, 2): 1, Item(2, 1, 2): 1}
    rng = np.random.default_rng(0)
    assert next_item(items, seen, wins, pairs, rng) == Item(3, 1, 2)
    assert next_item([], seen, wins, pairs, rng) is None
