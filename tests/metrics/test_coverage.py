"""How often the 95 % intervals hold what they are said to cover, by simulation.

The fast tests are small versions; `-m slow` repeats the figures in the docstrings of
`bench.statistics` and `bench.metrics.frechet`; run it with `-s` to see them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench.metrics.frechet import Reference, frechet
from bench.statistics import bootstrap_interval, standard_error, wilson_interval

Draw = Callable[[np.random.Generator, int], np.ndarray]
Interval = Callable[[np.ndarray], tuple[float, float]]

MEANS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, n: rng.normal(25.0, 3.0, n), 25.0),
    "lognormal": (lambda rng, n: rng.lognormal(0.0, 1.0, n), float(np.exp(0.5))),
}


def coverage_of_mean(draw: Draw, truth: float, interval: Interval, n: int, runs: int) -> float:
    """Share of `runs` intervals from n prompts each that hold `truth`."""
    rng = np.random.default_rng(n)
    bounds = (interval(draw(rng, n)) for _ in range(runs))
    return float(np.mean([low <= truth <= high for low, high in bounds]))


def share(p: float) -> Draw:
    return lambda rng, n: (rng.random(n) < p).astype(float)


def gaussian(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Correlated Gaussian features whose spectrum falls as 1 / k."""
    mix = np.random.default_rng(d).normal(size=(d, d)) / np.sqrt(np.arange(1, d + 1))[:, None]
    features: np.ndarray = rng.normal(size=(n, d)) @ mix
    return features


def skewed(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Rectified mixtures of three clusters, as a network's features are."""
    centres = np.random.default_rng(d + 1).normal(size=(3, d)) * 1.5
    mixed = gaussian(rng, n, d) * 0.5 + centres[rng.integers(0, 3, n)]
    return np.maximum(mixed, 0.0)


def changed(x: np.ndarray, amount: float) -> np.ndarray:
    """A model that shrinks, shifts and bends the features by `amount`."""
    return x * (1 - 0.3 * amount) + 0.3 * amount + 0.1 * amount * np.tanh(x[:, ::-1])


def frechet_runs(
    features: Callable[[np.random.Generator, int, int], np.ndarray],
    *,
    d: int,
    n: int,
    runs: int,
    amounts: tuple[float, ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values [runs, models], errors [runs, models], errors of first - second [runs]).

    Every run draws n new prompts; model k changes their features by amounts[k].
    """
    rng = np.random.default_rng([n, d])
    ref = Reference.of(features(rng, 10_000, d), name="real", extractor="simulated")
    values, errors, paired = [], [], []
    for _ in range(runs):
        x = features(rng, n, d)
        found = [frechet(changed(x, amount), ref) for amount in amounts]
        values.append([value for value, _ in found])
        errors.append([standard_error(influence) for _, influence in found])
        paired.append(standard_error(found[0][1] - found[-1][1]))
    return np.array(values), np.array(errors), np.array(paired)


def covered(values: np.ndarray, errors: np.ndarray) -> float:
    """Share of value +- 1.96 errors that hold the mean of all runs' values."""
    return float(np.mean(np.abs(values - values.mean()) <= 1.96 * errors))


@pytest.mark.parametrize("name", sorted(MEANS))
def test_bootstrap_covers_the_mean(name: str) -> None:
    assert 0.90 <= coverage_of_mean(*MEANS[name], bootstrap_interval, 500, 400) <= 0.99


def test_wilson_covers_a_share_near_one() -> None:
    assert 0.92 <= coverage_of_mean(share(0.99), 0.99, wilson_interval, 500, 400) <= 0.99


def test_frechet_error_covers_the_expected_value_and_a_paired_difference() -> None:
    values, errors, paired = frechet_runs(gaussian, d=8, n=300, runs=300, amounts=(0.5, 0.7))
    assert 0.91 <= covered(values[:, 0], errors[:, 0]) <= 0.99
    assert 0.91 <= covered(values[:, 0] - values[:, 1], paired) <= 0.99
    assert paired.mean() < errors.mean()  # pairing pays


@pytest.mark.slow
def test_coverage_of_means_as_documented() -> None:
    figures: dict[tuple[str, float], float] = {}
    for n in (100, 1_000):
        for name, (draw, truth) in MEANS.items():
            figures[name, n] = coverage_of_mean(draw, truth, bootstrap_interval, n, 4_000)
    for p in (0.5, 0.05, 0.995, 0.999):
        figures["wilson", p] = coverage_of_mean(share(p), p, wilson_interval, 1_000, 4_000)
        figures["bootstrap", p] = coverage_of_mean(share(p), p, bootstrap_interval, 1_000, 4_000)
    print(figures)
    means = [figures[name, 1_000] for name in MEANS]
    assert all(0.935 <= v <= 0.965 for v in means), means
    shares = [v for (name, _), v in figures.items() if name == "wilson"]
    assert all(0.91 <= v <= 0.98 for v in shares), shares
    assert figures["bootstrap", 0.999] < 0.75  # why shares have another interval


@pytest.mark.slow
@pytest.mark.parametrize("features", [gaussian, skewed])
def test_coverage_of_frechet_as_documented(
    features: Callable[[np.random.Generator, int, int], np.ndarray],
) -> None:
    amounts = (0.0, 0.3, 1.0, 1.2)
    values, errors, paired = frechet_runs(features, d=64, n=1_000, runs=1_000, amounts=amounts)
    figures: dict[object, float] = {
        a: covered(values[:, k], errors[:, k]) for k, a in enumerate(amounts)
    }
    figures["pair"] = covered(values[:, 0] - values[:, -1], paired)
    print(features.__name__, figures, "mean", values.mean(axis=0), "se", errors.mean(axis=0))
    assert all(0.92 <= figures[a] <= 0.98 for a in amounts[1:])
    assert figures[0.0] >= 0.94
    assert 0.93 <= figures["pair"] <= 0.98
