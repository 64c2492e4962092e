"""Frechet distance between Gaussians fitted to features (FID), with a standard error.

N images, d dimensions, G prompts; mu_r, S_r are the reference's, R any factor with S_r = R R^T.

    F = |mu - mu_r|^2 + tr S + tr S_r - 2 tr (R^T S R)^(1/2)

R^T S R is symmetric and positive semidefinite, so one float64 `eigh` gives its square root: no
complex numbers and no `sqrtm`, which scipy 1.18 changed under everybody's feet. With N < d the
N x N Gram matrix of (x - mu) R has the same non-zero eigenvalues and is smaller.

The same eigenvectors give the influence of every image (Gateaux derivative of F at the sample):

    IF(x) = 2 (mu - mu_r)^T c + c^T (I - T) c - tr((I - T) S),  c = x - mu,
    T = R (R^T S R)^(-1/2) R^T   (the linear transport map from the sample to the reference)

and standard error = sd(IF) / sqrt(N), prompts as clusters.

What the interval value +- 1.96 se covers: the *expected value of F at this N*, over sets of
prompts drawn as these were, the reference held as it is. It does not cover the value at infinite
N: F of N images is too large by about c / N, where c depends on the model, so values are compared
at one N only. In a paired difference at the same N most of that bias cancels, not all of it.
A percentile bootstrap is not used: it adds the bias a second time.

Coverage of that expected value at N = 1,000, d = 64, by `tests/statistics/test_coverage.py -m slow`
(1,000 runs, so +-1.4 points), for a small, a middle and a large change of the reference:
correlated Gaussian features 93.2, 93.6, 93.4 %, rectified mixtures 95.5, 96.1, 95.7 %; paired
difference of two models 94.6 and 95.8 %. For a model equal to the reference 98.4 and 96.0 %: the
first-order term vanishes there and the interval is too wide. (Its expected value is all bias: 2.4
and 0.5 where the value at infinite N is 0.) The extrapolated value (`at_infinity`, `fid_inf`)
covers that of infinitely many images in 93.2, 94.3, 95.1 and 94.9 % (a small and a large change,
either kind of features, 1,000 runs each). Below two images a dimension the extrapolation fails (15
and 52 % at one, d = 128), and under heavy tails the standard error does (Student's t of 10, 5 and 3
degrees of freedom, d = 32: 95, 90 and 86 %); a result's `doubt` says either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics import references
from bench.metrics.base import Features, HeldOut
from bench.metrics.networks.base import Network
from bench.metrics.references import ReferenceStatistics, not_noise
from bench.statistics.intervals import influence_by_prompt, quantile_of_normal, standard_error
from bench.statistics.result import Array, Result

COVERS = "expected value at this number of images, reference fixed"
COVERS_INFINITE = "value at infinitely many images, reference fixed"
BLOCK = 2048  # rows that are centred and multiplied at once
GROUPS = 8  # of prompts, left out in turn
LEAST_PER_DIMENSION = 2  # images, below which the value at infinity is not to be trusted
HEAVY = 0.15  # of the variance in a single prompt, of so many at least: tails are heavy
HEAVY_PROMPTS = 200


def frechet(features: ArrayLike, reference: ReferenceStatistics) -> tuple[float, Array]:
    """(F, influence of each image on F [N], mean 0), of features [N, d].

    One eigendecomposition, of size min(N, rank of the reference).
    Raises ValueError for fewer than two images or another d.
    """
    x = _checked(features, reference)
    if len(x) < reference.root.shape[1]:
        return _of_few(x, reference)
    mu, sigma = _moments(x)
    shift = mu - reference.mu
    roots, vectors = _roots(reference.root.T @ sigma @ reference.root)
    onto = reference.root @ (vectors / np.sqrt(roots))  # |c onto|^2 (N - 1) = c^T T c
    influence = np.concatenate([_influence(c, shift, onto) for c in _centred(x, mu)])
    return _value(np.trace(sigma), shift, reference, roots.sum()), influence - influence.mean()


def distance(features: ArrayLike, reference: ReferenceStatistics) -> float:
    """F alone, as `frechet` has it, in less time."""
    x = _checked(features, reference)
    if len(x) < reference.root.shape[1]:
        return _of_few(x, reference)[0]
    mu, sigma = _moments(x)
    values = np.linalg.eigvalsh(reference.root.T @ sigma @ reference.root)
    trace = float(np.sqrt(values[not_noise(values)]).sum())
    return _value(np.trace(sigma), mu - reference.mu, reference, trace)


def _checked(features: ArrayLike, reference: ReferenceStatistics) -> NDArray[np.floating[Any]]:
    x: NDArray[np.floating[Any]] = np.asarray(features)
    if not np.issubdtype(x.dtype, np.floating):
        x = x.astype(np.float64)
    if x.ndim != 2 or len(x) < 2 or x.shape[1] != len(reference.mu):
        raise ValueError(f"need features [N >= 2, {len(reference.mu)}], got {x.shape}")
    return x


def _centred(x: NDArray[np.floating[Any]], mean: Array) -> Iterator[Array]:
    """Rows less a mean, in float64, a block at a time: what a product reads stays in the
    processor's cache, and no copy of all of them is made."""
    for start in range(0, len(x), BLOCK):
        yield x[start : start + BLOCK] - mean


def _moments(x: NDArray[np.floating[Any]]) -> tuple[Array, Array]:
    """Mean [d] and covariance [d, d] of rows [N, d], in one pass: about the mean of the first rows,
    and moved to that of all (Chan, Golub and LeVeque 1983, the shifted two-pass formula)."""
    about = x[:BLOCK].mean(axis=0, dtype=np.float64)
    total, products = np.zeros(x.shape[1]), np.zeros((x.shape[1],) * 2)
    for c in _centred(x, about):
        total += c.sum(axis=0)
        products += c.T @ c
    off = total / len(x)
    return about + off, (products - len(x) * np.outer(off, off)) / (len(x) - 1)


def _influence(c: Array, shift: Array, onto: Array) -> Array:
    """2 (mu - mu_r)^T c + c^T (I - T) c of each row [B], not yet centred."""
    y = c @ onto
    lengths, transported = np.einsum("nd,nd->n", c, c), np.einsum("nr,nr->n", y, y)
    return np.asarray(2 * c @ shift + lengths - transported, np.float64)


def _of_few(x: NDArray[np.floating[Any]], reference: ReferenceStatistics) -> tuple[float, Array]:
    """As `frechet`, of fewer images than dimensions, by the Gram matrix of (x - mu) R."""
    wide = x.astype(np.float64)
    mu = wide.mean(axis=0)
    c, shift, n = wide - mu, mu - reference.mu, len(x)
    y = c @ reference.root / np.sqrt(n - 1)
    roots, vectors = _roots(y @ y.T)
    lengths = np.einsum("nd,nd->n", c, c)
    influence = 2 * c @ shift + lengths - (n - 1) * (vectors**2 @ roots)
    value = _value(lengths.sum() / (n - 1), shift, reference, roots.sum())
    return value, influence - influence.mean()


def _value(spread: float, shift: Array, reference: ReferenceStatistics, trace: float) -> float:
    """F, not below 0. spread: tr S; trace: tr (R^T S R)^(1/2)."""
    value = shift @ shift + spread + np.trace(reference.sigma) - 2 * trace
    return max(0.0, float(value))


def at_infinity(
    features: ArrayLike, reference: ReferenceStatistics, clusters: Sequence[int] | None = None
) -> float:
    """Where F tends to with ever more images: F less its bias c / N, by a grouped jackknife.

    Prompts are cut at random (seeded) into 8 groups; without group k the distance is F_k, and

        F_inf = F - 7 (mean F_k - F)

    takes out all bias of order 1 / N, while first-order noise cancels, each prompt being left out
    once (Quenouille 1956; the extrapolation is that of Chong and Forsyth 2020, arXiv 1911.07023).
    features: [N, d]; clusters: N prompt ids, whose images stay together.  Not below 0.
    The reference's own bias stays: it is part of the reference.  Raises ValueError as `frechet`.
    """
    x = np.asarray(features)
    ids = np.arange(len(x)) if clusters is None else np.asarray(clusters, np.int64)
    keys, inverse = np.unique(ids, return_inverse=True)
    groups = min(GROUPS, len(keys))
    group = (np.random.default_rng(len(keys)).permutation(len(keys)) % groups)[inverse]
    whole = distance(x, reference)
    kept = [x[group != k] for k in range(groups)]
    if min(map(len, kept)) < 2:
        return whole
    parts = [distance(part, reference) for part in kept]
    return max(0.0, whole - (groups - 1) * (float(np.mean(parts)) - whole))


def _roots(symmetric: Array) -> tuple[Array, Array]:
    """Square roots of the eigenvalues that are not noise, and their eigenvectors."""
    values, vectors = np.linalg.eigh(symmetric)
    held = not_noise(values)
    return np.sqrt(values[held]), vectors[:, held]


@dataclass(frozen=True)
class FrechetDistance(HeldOut):
    """Distance to a reference: of real pictures (`fid`, `fid_patch`, `fd_dinov2`), or of the
    teacher's own, made with other seeds (`fid_teacher`).

    The former ask whether a student draws as the world is, the latter whether it draws as its
    teacher does; published rankings by the two disagree.
    """

    reference: ReferenceStatistics
    extractor: str = ""
    name: str = "fid"

    higher_is_better: ClassVar[bool] = False

    @property
    def identity(self) -> str:
        return f"{self.name}/1;{self.reference.extractor};reference={self.reference.identity}"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """The plain value, +- 1.96 standard errors cut at 0; see the module for what it covers."""
        del prompts
        value, per_image = frechet(features, self.reference)
        ids, influence = influence_by_prompt(per_image, clusters)
        reach = quantile_of_normal() * standard_error(influence)
        return Result(
            value=value,
            low=max(0.0, value - reach),
            high=value + reach,
            n=len(per_image),
            prompts=ids,
            per_prompt=None,
            influence=influence,
            covers=COVERS,
            kind="distance",
            at_infinity=at_infinity(features, self.reference, clusters),
            doubt=_heavy(influence),
        )


class InfiniteFrechetDistance(FrechetDistance):
    """`fid_inf`: `fid` extrapolated to infinitely many images, so that N drops out of it.

    The interval is the one of `fid` moved there: to first order both have the same error.
    """

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """`at_infinity` of the plain distance, +- its 1.96 standard errors, cut at 0."""
        plain = super().evaluate(features, prompts, clusters)
        assert plain.at_infinity is not None
        assert plain.influence is not None
        reach = quantile_of_normal() * standard_error(plain.influence)
        value = plain.at_infinity
        low, high = max(0.0, value - reach), value + reach
        doubt = _few(plain.n, np.shape(features)[1]) or plain.doubt
        return replace(plain, value=value, low=low, high=high, covers=COVERS_INFINITE, doubt=doubt)


def _heavy(influence: Array) -> str:
    """A doubt if one prompt dominates the standard error; else ""."""
    squares = influence**2
    total = squares.sum()
    if len(influence) < HEAVY_PROMPTS or total == 0 or squares.max() <= HEAVY * total:
        return ""
    share = 100 * squares.max() / total
    return f"one prompt makes {share:.0f} % of its variance: the interval may be too narrow"


def _few(images: int, dimensions: int) -> str:
    """A doubt if there are too few images to extrapolate; else ""."""
    if images >= LEAST_PER_DIMENSION * dimensions:
        return ""
    return (
        f"{images:,} images in {dimensions:,} dimensions; below {LEAST_PER_DIMENSION} a dimension "
        "the value at infinity is off by more than its interval"
    )


def to_real(name: str, network: Network, settings: Mapping[str, str]) -> FrechetDistance:
    """The distance to real pictures, or to what `reference` names."""
    found = references.statistics(name, network, settings)
    return FrechetDistance(found, network.name, name)


def to_teacher(name: str, network: Network, settings: Mapping[str, str]) -> FrechetDistance:
    """The distance to the teacher's own pictures, or to what `reference` names."""
    found = references.statistics(name, network, settings, of="teacher")
    return FrechetDistance(found, network.name, name)


def to_real_at_infinity(
    name: str, network: Network, settings: Mapping[str, str]
) -> InfiniteFrechetDistance:
    """As `to_real`, extrapolated."""
    plain = to_real(name, network, settings)
    return InfiniteFrechetDistance(plain.reference, plain.extractor, name)
