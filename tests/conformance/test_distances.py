"""Distances between sets against torch-fidelity's arithmetic on the same features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity import metric_fid, metric_kid, metric_prc

from bench.metrics.diversity import Diversity
from bench.metrics.frechet import FrechetDistance
from bench.metrics.manifold import Precision, Recall
from bench.metrics.mmd import Discrepancy, mmd, polynomial
from bench.metrics.references import ReferenceFeatures, ReferenceStatistics


def drawn(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Like a network's last features: rectified, correlated, of unequal size."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(d, d)) / np.sqrt(d)
    return np.maximum(rng.normal(size=(n, d)) @ mix + shift, 0).astype(np.float32)


X, Y = drawn(300, 48, 1, 0.15), drawn(300, 48, 2)
SAMPLE = ReferenceFeatures("real", "network/1", Y)
IDS = list(range(len(X)))


def test_frechet_distance_is_torch_fidelitys() -> None:
    statistics = [metric_fid.fid_features_to_statistics(torch.tensor(a)) for a in (X, Y)]
    theirs = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    reference = ReferenceStatistics.of(Y, name="real", extractor="network/1")
    found = FrechetDistance(reference).evaluate(X, [], IDS)
    assert found.value == pytest.approx(theirs["frechet_inception_distance"], rel=2e-5)


def test_kid_is_torch_fidelitys() -> None:
    """Over one subset that holds everything: their estimate without their sampling."""
    theirs = metric_kid.kid_features_to_metric(
        torch.tensor(X), torch.tensor(Y), kid_subsets=1, kid_subset_size=len(X), verbose=False
    )
    found = Discrepancy("kid", SAMPLE, "network", "polynomial").evaluate(X, [], IDS)
    expected = 1000 * theirs["kernel_inception_distance_mean"]
    assert found.value == pytest.approx(expected, rel=2e-5)  # theirs is in single precision


@pytest.mark.parametrize("estimate", ["biased", "unbiased"])
def test_cmmd_is_torch_fidelitys_gaussian_mmd(estimate: str) -> None:
    pairs = [(X, X), (X, Y), (Y, Y)]
    kernels = [metric_kid.kernel_rbf(a, b, kid_kernel_rbf_sigma=10.0) for a, b in pairs]
    expected = 1000 * metric_kid.mmd2(*kernels, mmd_est=estimate)
    cmmd = Discrepancy("cmmd", SAMPLE, "network", "gaussian", biased=estimate == "biased")
    found = cmmd.evaluate(X, [], IDS)
    assert found.value == pytest.approx(expected, rel=1e-3)


def test_influence_of_mmd_is_its_derivative_towards_one_image() -> None:
    """(MMD((1 - h) P + h x) - MMD(P)) / h, P weighting the images equally (V-statistic)."""
    x, y = X[:60].astype(np.float64), Y[:80].astype(np.float64)
    _, influence = mmd(x, y, polynomial, biased=True)
    within, across = polynomial(x, x), polynomial(x, y)

    def mixed(image: int, h: float) -> float:
        w = np.full(len(x), (1 - h) / len(x))
        w[image] += h
        return float(w @ within @ w - 2 * w @ across.mean(axis=1))

    for image in (0, 7, 33):
        numeric = (mixed(image, 1e-5) - mixed(image, -1e-5)) / 2e-5
        assert influence[image] == pytest.approx(numeric, rel=1e-5)


def test_the_interval_of_kid_covers_its_expectation() -> None:
    """Sets drawn again: the expectation is what many of them average to (unbiased)."""
    results = [
        Discrepancy("kid", SAMPLE, "n", "polynomial").evaluate(
            drawn(150, 48, 100 + i, 0.15), [], range(150)
        )
        for i in range(120)
    ]
    truth = np.mean([r.value for r in results])
    covered = np.mean([r.low <= truth <= r.high for r in results])
    assert 0.89 <= covered <= 0.99


def test_precision_and_recall_are_torch_fidelitys() -> None:
    theirs = metric_prc.prc_features_to_metric(
        torch.tensor(X), torch.tensor(Y), prc_neighborhood=3, prc_batch_size=1000, verbose=False
    )
    for kind in (Precision, Recall):
        found = kind(SAMPLE, "network").evaluate(X, [], IDS)
        assert found.value == pytest.approx(theirs[kind.name])
        assert found.low < found.value < found.high


def test_recalls_influence_is_what_the_share_loses_without_an_image() -> None:
    x, y = drawn(40, 3, 6), ReferenceFeatures("real", "network/1", drawn(60, 3, 7))
    found = Recall(y, "network").evaluate(x, [], range(40))
    without = [Recall(y, "network").evaluate(np.delete(x, i, 0), [], range(39)) for i in range(40)]
    lost = 39 * (found.value - np.array([one.value for one in without]))
    assert found.influence == pytest.approx(lost - lost.mean())


def test_diversity_is_the_mean_of_all_pairs() -> None:
    x = drawn(12, 8, 5) + 0.1
    clusters = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    found = Diversity("n", "n").evaluate(x, [], clusters)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for cluster, value in zip(found.prompts, found.per_prompt, strict=True):
        rows = unit[np.array(clusters) == cluster]
        pairs = [1 - a @ b for i, a in enumerate(rows) for b in rows[:i]]
        assert value == pytest.approx(np.mean(pairs), rel=1e-5)
    assert found.n == 12
