"""Paired differences, tests against a margin, wins and power, against scipy and closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.errors import UsageError
from bench.metrics.frechet import FrechetDistance
from bench.metrics.references import ReferenceStatistics
from bench.statistics import differences, margins, power
from bench.statistics.result import Result, mean_result, share_result
from bench.suite import suite


def given(**keys: Any) -> suite.Suite:
    """A suite that says so."""
    least = {"title": "t", "version": 1, "steps": 1, "metrics": ["fid"], "prompts": {"set": "own"}}
    return suite.read("s", {**least, "contestants": {"real": {}}, **keys})


def means(values: np.ndarray) -> Result:
    return mean_result(np.asarray(values, np.float64), range(len(values)))


def shares(values: np.ndarray) -> Result:
    return share_result(np.asarray(values, np.float64), range(len(values)))


def two_scores(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    common = rng.gamma(2.0, 1.0, n)
    return common + 0.3 * rng.normal(size=n) + 0.05, common + 0.3 * rng.normal(size=n)


@pytest.mark.parametrize("margin", [0.02, 0.1, 0.4])
def test_tests_against_a_margin_are_scipys_t_tests(margin: float) -> None:
    x, y = two_scores()
    d = differences.difference(means(x), means(y))
    above = stats.ttest_1samp(x - y, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(x - y, margin, alternative="less").pvalue
    assert d.p_above(-margin) == pytest.approx(above, rel=1e-9)
    assert d.p_below(margin) == pytest.approx(below, rel=1e-9)


def test_two_equal_contestants_are_equivalent_for_certain() -> None:
    x, _ = two_scores()
    d = differences.difference(means(x), means(x))
    assert (d.delta, d.error, d.p_above(-0.1), d.p_below(0.1)) == (0.0, 0.0, 0.0, 0.0)
    assert d.p_above(0.0) == 1.0


@pytest.mark.parametrize(("only_x", "only_y", "n"), [(12, 5, 200), (0, 0, 100), (40, 0, 50)])
def test_a_difference_of_shares_is_bonett_and_prices(only_x: int, only_y: int, n: int) -> None:
    """Their formula from the counts of the 2 x 2 table, one added to either discordant cell."""
    x = np.r_[np.ones(only_x), np.zeros(only_y), np.ones(n - only_x - only_y)]
    y = np.r_[np.zeros(only_x), np.ones(only_y), np.ones(n - only_x - only_y)]
    d = differences.difference(shares(x), shares(y))
    p, q = (only_x + 1) / (n + 2), (only_y + 1) / (n + 2)
    error = math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    assert d.delta == pytest.approx((only_x - only_y) / n)
    assert d.error == pytest.approx(error, rel=1e-9)
    assert d.high == pytest.approx(min(1.0, max(d.delta, p - q + 1.959964 * error)), rel=1e-6)
    assert d.low == pytest.approx(min(d.delta, p - q - 1.959964 * error), rel=1e-6)


def test_seeds_of_a_prompt_are_averaged_before_shares_are_compared() -> None:
    right = np.random.default_rng(0).integers(0, 2, (2, 100)).astype(float)
    twice = share_result(np.tile(right[0], 2), [*range(100), *range(100)])
    other = share_result(np.tile(right[1], 2), [*range(100), *range(100)])
    once = differences.difference(shares(right[0]), shares(right[1]))
    assert differences.difference(twice, other) == once


def distances(shift: float, n: int = 300) -> Result:
    rng = np.random.default_rng(1)
    ref = ReferenceStatistics.of(rng.normal(size=(4_000, 4)), name="real", extractor="net")
    x = np.random.default_rng(2).normal(size=(n, 4)) + shift
    return FrechetDistance(ref).evaluate(x.astype(np.float32), [""] * n, range(n))


def test_a_difference_of_distances_has_the_error_of_the_influences() -> None:
    a, b = distances(0.5), distances(0.2)
    d = differences.difference(a, b)
    assert a.influence is not None
    assert b.influence is not None
    assert d.error == pytest.approx(stats.sem(a.influence - b.influence))
    assert d.p_below(0.0) == pytest.approx(stats.norm.sf(-d.delta / d.error), rel=1e-6)
    assert a.error == pytest.approx(stats.sem(a.influence))


def test_distances_of_different_n_are_refused() -> None:
    a, b = distances(0.5), distances(0.5, n=200)
    assert differences.refusal(a, b) == "a distance of 300 images and one of 200 cannot be compared"
    with pytest.raises(ValueError, match="300 images and one of 200"):
        differences.difference(a, b)


def test_wins_ties_and_losses_and_wilsons_interval() -> None:
    x, y = np.array([3.0, 1.0, 2.0, 2.0, 9.0]), np.array([1.0, 3.0, 2.0, 1.0, 0.0])
    won = differences.wins(x, y, higher_is_better=True)
    assert (won.wins, won.ties, won.losses, won.rate) == (3, 1, 1, 0.7)
    lost = differences.wins(x, y, higher_is_better=False)
    assert (lost.wins, lost.ties, lost.losses) == (1, 1, 3)
    assert lost.rate == pytest.approx(0.3)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=200) + 0.2, rng.normal(size=200)
    won = differences.wins(x, y, higher_is_better=True)
    theirs = stats.binomtest(won.wins, 200).proportion_ci(method="wilson")
    assert (won.low, won.high) == pytest.approx((theirs.low, theirs.high))


def t_test_power(difference: float, spread: float, n: int) -> float:
    """Power of a two-sided t test of level 5 %, by the noncentral t distribution."""
    shift, edge = difference / spread * math.sqrt(n), stats.t.ppf(0.975, n - 1)
    upper = stats.nct.sf(edge, n - 1, shift)
    return float(upper + stats.nct.cdf(-edge, n - 1, shift))


def test_the_detectable_difference_is_found_in_four_of_five_tests() -> None:
    difference = power.detectable(3.0 / math.sqrt(1_000))
    assert t_test_power(difference, 3.0, 1_000) == pytest.approx(0.80, abs=0.002)


def test_prompts_that_a_claim_needs_give_it_that_power() -> None:
    error = 3.0 / math.sqrt(250)
    n = power.prompts_for(error, 250, 0.2)
    assert n is not None
    assert t_test_power(0.2, 3.0, n) == pytest.approx(0.80, abs=0.002)
    assert power.prompts_for(error, 250, power.detectable(error)) == 250
    strict = power.prompts_for(error, 250, 0.2, tests=20)
    assert strict is not None and strict > n
    assert power.prompts_for(error, 250, 0.0) is None


def test_prompts_that_rule_out_a_loss_do_so_in_four_of_five_runs() -> None:
    rng = np.random.default_rng(0)
    n = power.prompts_to_rule_out(1.0 / math.sqrt(50), 50, 0.15)
    assert n == math.ceil(((1.644854 + 0.841621) / 0.15) ** 2)
    x = rng.normal(size=(4_000, n))
    t = (x.mean(axis=1) + 0.15) / (x.std(axis=1, ddof=1) / math.sqrt(n))
    assert np.mean(t > 1.645) == pytest.approx(0.80, abs=0.02)


def test_margins_are_numbers_or_percentages_of_what_is_compared_with() -> None:
    assert margins.size("5%", 80.0) == pytest.approx(4.0)
    assert margins.size(0.1, 80.0) == 0.1
    assert margins.of("clip", {"clip": 0.3}) == 0.3
    assert margins.of("clip") == 1.0
    assert margins.of("something new") == "2%"
    assert given(margins={"fid": " 5.0 %"}).margins == {"fid": "5%"}


@pytest.mark.parametrize("value", ["wide", 0, "0%", -1, True, "5 percent"])
def test_a_margin_that_is_none_is_one_line(value: object) -> None:
    with pytest.raises(UsageError, match=r"margins.fid=[^\n]*$"):
        given(margins={"fid": value})


def test_a_limit_is_a_percentage_or_none() -> None:
    found = given(limits={"seconds": None, "memory": "20%"}).limits
    assert found == {"seconds": None, "memory": "20%"}
    with pytest.raises(UsageError, match="must be a percentage"):
        given(limits={"seconds": 0.5})
