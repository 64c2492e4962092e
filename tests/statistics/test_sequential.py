"""Group-sequential boundaries, against published tables and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from bench.statistics.sequential import boundaries, crossing_chances, obrien_fleming, pocock

# Reboussin, DeMets, Kim and Lan 2000, Controlled Clinical Trials 21, 190-207 (programme LD98):
# two-sided 5 %, that is 2.5 % of either side, at even looks.
OBRIEN_FLEMING = {
    2: (2.9626, 1.9686),
    3: (3.7103, 2.5114, 1.9930),
    4: (4.3326, 2.9631, 2.3590, 2.0141),
    5: (4.8769, 3.3569, 2.6803, 2.2898, 2.0310),
}
POCOCK = {5: (2.4380, 2.4268, 2.4101, 2.3966, 2.3859)}
# Jennison and Turnbull 2000, tables 2.1 and 2.3: the classical tests, two-sided 5 %.
CONSTANTS = {2: (2.178, 1.977), 3: (2.289, 2.004), 4: (2.361, 2.024), 5: (2.413, 2.040),
             10: (2.555, 2.087)}  # fmt: skip


def even(looks: int) -> tuple[float, ...]:
    return tuple((k + 1) / looks for k in range(looks))


@pytest.mark.parametrize("looks", OBRIEN_FLEMING)
def test_boundaries_of_obrien_fleming_spending_are_the_published_ones(looks: int) -> None:
    found = boundaries(even(looks), 0.025, obrien_fleming)
    assert found == pytest.approx(OBRIEN_FLEMING[looks], abs=2e-4)


def test_boundaries_of_pocock_spending_are_the_published_ones() -> None:
    assert boundaries(even(5), 0.025, pocock) == pytest.approx(POCOCK[5], abs=2e-4)


@pytest.mark.parametrize("looks", CONSTANTS)
def test_classical_tests_spend_five_percent(looks: int) -> None:
    """Their constants have three decimals, which is about 1 % of what they spend."""
    for constant, shape in zip(CONSTANTS[looks], (0.0, 0.5), strict=True):
        bounds = [constant / t**shape for t in even(looks)]
        assert sum(crossing_chances(even(looks), bounds)) == pytest.approx(0.025, rel=0.01)


def test_one_look_is_the_fixed_test() -> None:
    for spending in (obrien_fleming, pocock):
        assert boundaries((1.0,), 0.05, spending) == pytest.approx((norm.isf(0.05),), abs=1e-6)


def test_uneven_looks_and_a_drift_against_the_normal_distribution_of_scipy() -> None:
    times, bounds, drift = (0.15, 0.5, 1.0), (2.0, 1.9, 1.8), 1.3
    covariance = [[min(a, b) / np.sqrt(a * b) for b in times] for a in times]
    below = multivariate_normal([drift * np.sqrt(t) for t in times], covariance)
    stays = below.cdf(list(bounds))
    assert 1 - sum(crossing_chances(times, bounds, drift)) == pytest.approx(stays, abs=1e-4)


def test_the_level_is_kept_whatever_the_looks() -> None:
    rng = np.random.default_rng(0)
    times = (0.1, 0.3, 0.45, 0.8, 1.0)
    steps = rng.normal(size=(100_000, 5)) * np.sqrt(np.diff([0.0, *times]))
    z = steps.cumsum(axis=1) / np.sqrt(times)
    for spending in (obrien_fleming, pocock):
        crossed = (z >= boundaries(times, 0.05, spending)).any(axis=1).mean()
        assert crossed == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 100_000))


@pytest.mark.parametrize("times", [(), (0.5, 0.5), (0.0, 1.0), (0.5, 1.5)])
def test_looks_that_do_not_ascend_are_refused(times: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must ascend"):
        boundaries(times, 0.05, pocock)
