"""Frechet distance against scipy's sqrtm, clean-fid, closed forms and simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import linalg

from bench.errors import UsageError
from bench.metrics.frechet import (
    FrechetDistance,
    InfiniteFrechetDistance,
    _moments,
    _of_few,
    distance,
    frechet,
)
from bench.metrics.references import ReferenceStatistics, read


def drawn(n: int, d: int, seed: int, *, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng([d, 99]).normal(size=(d, d)) / np.sqrt(d)
    return scale * rng.normal(size=(n, d)) @ mix + shift


def reference(features: np.ndarray) -> ReferenceStatistics:
    return ReferenceStatistics.of(features, name="real", extractor="network/1")


def by_sqrtm(x: np.ndarray, ref: ReferenceStatistics) -> float:
    mu, sigma = x.mean(axis=0), np.cov(x, rowvar=False)
    root = linalg.sqrtm(sigma @ ref.sigma).real
    shift = mu - ref.mu
    return float(shift @ shift + np.trace(sigma + ref.sigma - 2 * root))


@pytest.mark.parametrize("d", [2, 16, 64])
def test_agrees_with_scipys_formula(d: int) -> None:
    ref = reference(drawn(2_000, d, 1))
    x = drawn(1_000, d, 2, scale=1.3, shift=0.2)
    assert frechet(x, ref)[0] == pytest.approx(by_sqrtm(x, ref), rel=1e-9)


def test_agrees_with_clean_fid() -> None:
    theirs = pytest.importorskip("cleanfid.fid").frechet_distance
    ref = reference(drawn(2_000, 64, 1))
    x = drawn(1_000, 64, 2, scale=0.8, shift=0.1)
    expected = theirs(x.mean(axis=0), np.cov(x, rowvar=False), ref.mu, ref.sigma)
    assert frechet(x, ref)[0] == pytest.approx(expected, rel=1e-9)


def test_closed_form_for_diagonal_gaussians() -> None:
    """Samples whose mean and covariance are exactly (1, diag(4, 9)) against (0, I): 2 + 1 + 4."""
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * np.sqrt(3 / 4)
    x = 1.0 + corners * [2.0, 3.0]
    ref = ReferenceStatistics("real", "network/1", np.zeros(2), np.eye(2), 10)
    assert frechet(x, ref)[0] == pytest.approx(2 + 1 + 4, rel=1e-12)


def test_a_set_has_distance_zero_to_itself() -> None:
    x = drawn(500, 8, 3)
    assert frechet(x, reference(x))[0] == pytest.approx(0.0, abs=1e-9)


def test_fewer_images_than_dimensions_by_the_gram_matrix() -> None:
    ref = reference(drawn(3_000, 64, 1))
    x = drawn(40, 64, 2, shift=0.1)
    value, influence = frechet(x, ref)
    singular = linalg.svdvals((x - x.mean(axis=0)) @ ref.root) / np.sqrt(39)
    shift = x.mean(axis=0) - ref.mu
    traces = np.trace(np.cov(x, rowvar=False)) + np.trace(ref.sigma)
    assert value == pytest.approx(shift @ shift + traces - 2 * singular.sum(), rel=1e-9)
    assert influence.shape == (40,)


def test_both_routes_give_the_same_value_and_influences() -> None:
    """By the covariance, and by the Gram matrix that serves fewer images than dimensions."""
    ref, x = reference(drawn(2_000, 12, 1)), drawn(16, 12, 2, shift=0.3)
    direct, gram = frechet(x, ref), _of_few(x, ref)
    assert gram[0] == pytest.approx(direct[0], rel=1e-10)
    assert gram[1] == pytest.approx(direct[1], rel=1e-9)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 features far from 0, a block at a time, against all of them in float64."""
    ref, x = reference(drawn(2_000, 6, 1)), (drawn(400, 6, 2) + 50).astype(np.float32)
    whole = frechet(x.astype(np.float64), ref)
    monkeypatch.setattr("bench.metrics.frechet.BLOCK", 7)
    assert frechet(x, ref)[0] == pytest.approx(whole[0], rel=1e-12)
    assert frechet(x, ref)[1] == pytest.approx(whole[1], abs=1e-8)
    mu, sigma = _moments(x)
    assert mu == pytest.approx(x.mean(axis=0, dtype=np.float64))
    assert sigma == pytest.approx(np.cov(x.astype(np.float64), rowvar=False), abs=1e-10)


@pytest.mark.parametrize("n", [5, 400])
def test_the_distance_alone_is_the_same(n: int) -> None:
    ref, x = reference(drawn(2_000, 6, 1)), drawn(n, 6, 2, scale=1.2, shift=0.3)
    assert distance(x, ref) == pytest.approx(frechet(x, ref)[0], rel=1e-12)


@pytest.mark.parametrize("image", [0, 7, 123])
def test_influence_is_the_derivative_towards_one_image(image: int) -> None:
    """(F((1 - h) P + h x) - F(P)) / h by central differences, P the sample with divisor n."""
    ref, x = reference(drawn(2_000, 6, 1)), drawn(400, 6, 2, scale=1.2, shift=0.3)

    def mixed(h: float) -> float:
        weights = np.full(len(x), (1 - h) / len(x))
        weights[image] += h
        mu = weights @ x
        sigma = (x - mu).T @ ((x - mu) * weights[:, None])
        shift = mu - ref.mu
        root = linalg.sqrtm(sigma @ ref.sigma).real
        return float(shift @ shift + np.trace(sigma + ref.sigma - 2 * root))

    numeric = (mixed(1e-5) - mixed(-1e-5)) / 2e-5
    assert frechet(x, ref)[1][image] == pytest.approx(numeric, rel=0.01)


def test_reference_survives_its_file(tmp_path: Path) -> None:
    ref = reference(drawn(300, 5, 1))
    ref.save(tmp_path / "made" / "real.safetensors")
    again = read(tmp_path / "made" / "real.safetensors")
    assert np.array_equal(again.mu, ref.mu)
    assert np.array_equal(again.sigma, ref.sigma)
    assert (again.identity, again.extractor, again.n) == (ref.identity, "network/1", 300)


def test_damaged_reference_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "real.safetensors"
    with pytest.raises(UsageError, match="not readable as a reference"):
        read(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UsageError, match=r"^[^\n]*real.safetensors[^\n]*$"):
        read(path)


def test_seeds_of_a_prompt_widen_the_interval() -> None:
    """The same 200 images counted twice tell no more than once, if their prompts say so."""
    ref = reference(drawn(2_000, 4, 1))
    x = drawn(200, 4, 2, shift=0.5).astype(np.float32)
    metric, ids = FrechetDistance(ref), list(range(200))
    once = metric.evaluate(x, [""] * 200, ids)
    twice = metric.evaluate(np.r_[x, x], [""] * 400, ids + ids)
    as_new = metric.evaluate(np.r_[x, x], [""] * 400, list(range(400)))
    assert twice.high - twice.value == pytest.approx(once.high - once.value, rel=0.02)
    assert as_new.high - as_new.value == pytest.approx((once.high - once.value) / 2**0.5, rel=0.02)


def test_an_interval_that_may_not_hold_says_so() -> None:
    """Too few images to extrapolate from, or one prompt that makes the standard error."""
    rng = np.random.default_rng(0)
    ref = ReferenceStatistics.of(rng.normal(size=(2_000, 8)), name="real", extractor="n")
    plain, infinite = FrechetDistance(ref, "n"), InfiniteFrechetDistance(ref, "n", "fid_inf")
    few, many = rng.normal(size=(15, 8)), rng.normal(size=(400, 8))
    assert "15 images in 8 dimensions" in infinite.evaluate(few, [], range(15)).doubt
    assert infinite.evaluate(many, [], range(400)).doubt == ""
    assert plain.evaluate(many, [], range(400)).doubt == ""
    many[0] *= 20
    assert "one prompt makes" in plain.evaluate(many, [], range(400)).doubt
