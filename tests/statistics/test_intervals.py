"""Intervals and tests against scipy and worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.statistics import intervals


def scores(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 1.0, n)


def test_bootstrap_interval_agrees_with_scipy() -> None:
    x = scores(300)
    theirs = stats.bootstrap(
        (x,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    )
    ours = intervals.bootstrap_interval(x, resamples=20_000)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours[0] == pytest.approx(theirs.confidence_interval.low, abs=0.02 * width)
    assert ours[1] == pytest.approx(theirs.confidence_interval.high, abs=0.02 * width)


def test_bootstrap_is_seeded_and_resamples_two_contestants_alike() -> None:
    x = scores(200)
    assert intervals.bootstrap_interval(x) == intervals.bootstrap_interval(x)
    assert intervals.bootstrap_interval(x) != intervals.bootstrap_interval(x, seed=1)
    low, high = intervals.bootstrap_interval(x)
    assert intervals.bootstrap_interval(x + 3.0) == pytest.approx((low + 3.0, high + 3.0))


def test_bootstrap_of_many_prompts_is_the_same_with_and_without_kept_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = scores(150)
    kept = intervals.bootstrap_interval(x)
    monkeypatch.setattr(intervals, "_CACHED_PROMPTS", 0)
    assert intervals.bootstrap_interval(x) == kept


def test_seeds_of_a_prompt_are_one_cluster() -> None:
    keys, means = intervals.by_prompt([1.0, 3.0, 10.0, 20.0, 30.0], [7, 7, 2, 2, 2])
    assert keys.tolist() == [2, 7]
    assert means.tolist() == [20.0, 2.0]
    with pytest.raises(ValueError, match="one prompt id per value"):
        intervals.by_prompt([1.0, 2.0], [1])


@pytest.mark.parametrize(("right", "n"), [(0, 20), (1, 30), (500, 1000), (995, 1000), (50, 50)])
def test_wilson_interval_agrees_with_scipy(right: int, n: int) -> None:
    theirs = stats.binomtest(right, n).proportion_ci(method="wilson")
    ours = intervals.wilson_interval(np.r_[np.ones(right), np.zeros(n - right)])
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_interval_of_two_equal_seeds_is_that_of_one() -> None:
    shares = np.random.default_rng(0).integers(0, 2, 200).astype(float)
    _, twice = intervals.by_prompt(np.repeat(shares, 2), np.repeat(np.arange(200), 2))
    assert intervals.wilson_interval(twice) == pytest.approx(intervals.wilson_interval(shares))


def test_wilson_interval_of_independent_seeds_is_that_of_all_images() -> None:
    images = np.random.default_rng(0).random((2_000, 4)) < 0.7
    ours = intervals.wilson_interval(images.mean(axis=1))
    pooled = stats.binomtest(int(images.sum()), images.size).proportion_ci(method="wilson")
    assert ours == pytest.approx((pooled.low, pooled.high), abs=0.002)


def test_influence_of_unequal_clusters_keeps_the_standard_error() -> None:
    rng = np.random.default_rng(0)
    prompts = rng.integers(0, 50, 400)
    influence = rng.normal(size=400) + 0.3 * prompts
    influence -= influence.mean()
    _, grouped = intervals.influence_by_prompt(influence, prompts)
    groups = len(grouped)
    sums = np.array([influence[prompts == g].sum() for g in np.unique(prompts)])
    textbook = np.sqrt(groups / (groups - 1) * np.sum(sums**2)) / 400
    assert intervals.standard_error(grouped) == pytest.approx(textbook)


def test_sign_flip_p_equals_scipy_where_all_patterns_are_tried() -> None:
    x = np.random.default_rng(3).normal(0.4, 1.0, 12)
    theirs = stats.permutation_test(
        (x,), np.sum, permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    assert float(intervals.sign_flip_p(x)) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_sign_flip_p_agrees_with_scipy_by_random_flips() -> None:
    x = np.random.default_rng(4).normal(0.15, 1.0, 200)
    theirs = stats.permutation_test(
        (x,),
        np.sum,
        permutation_type="samples",
        n_resamples=9_999,
        rng=np.random.default_rng(1),
        vectorized=False,
    )
    assert float(intervals.sign_flip_p(x)) == pytest.approx(theirs.pvalue, abs=0.01)


def test_sign_flip_p_of_right_and_wrong_is_the_exact_mcnemar_test() -> None:
    x = np.r_[np.ones(9), -np.ones(2), np.zeros(300)]
    exact = stats.binomtest(2, 11).pvalue
    assert float(intervals.sign_flip_p(x, flips=40_000)) == pytest.approx(exact, abs=0.005)


def test_sign_flip_p_takes_columns_and_equal_contestants_have_p_one() -> None:
    x = np.random.default_rng(5).normal(0.1, 1.0, 100)
    both = intervals.sign_flip_p(np.stack([x, np.zeros(100)], axis=1))
    assert both.tolist() == [float(intervals.sign_flip_p(x)), 1.0]


@pytest.mark.parametrize("tests", [1, 50, 500, 5_000])
def test_a_family_of_any_size_can_find_something(tests: int) -> None:
    """With 9,999 flips for all, no adjusted p of 500 tests or more would be below 0.05."""
    smallest = 1 / (1 + intervals.flips_for(tests))
    assert intervals.holm([smallest, *[1.0] * (tests - 1)])[0] <= 0.05 / 10


def test_flips_end_early_only_where_p_is_not_small() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(40, 4)) + np.array([0.0, 0.35, 0.6, 2.0])
    theirs = [stats.ttest_1samp(column, 0.0).pvalue for column in x.T]
    ours = intervals.sign_flip_p(x, flips=200_000)
    assert ours[:3] == pytest.approx(theirs[:3], rel=0.35)
    assert ours[3] == 1 / 200_001


def test_holm_worked_example() -> None:
    """The four p values of Wikipedia's article on Holm-Bonferroni, in its order."""
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.9, 0.6]).tolist() == [1.0, 1.0]
    assert len(intervals.holm([])) == 0


def test_normal_p_is_scipys() -> None:
    assert intervals.normal_p(-2.3, 1.1) == pytest.approx(2 * stats.norm.sf(2.3 / 1.1))
    assert intervals.normal_p(0.0, 0.0) == 1.0
    assert intervals.normal_p(1.0, 0.0) == 0.0
