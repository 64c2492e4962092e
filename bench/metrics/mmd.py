"""Squared maximum mean discrepancy to reference features: `kid` and `cmmd`, with a standard error.

x: N images' features, y: M reference ones, k a kernel.

    MMD^2 = mean_{i != j} k(x_i, x_j) - 2 mean_{i, j} k(x_i, y_j) + mean_{i != j} k(y_i, y_j)

Unbiased at every N, so that it may be slightly negative and values of different N have the same
expectation; with one image a prompt, since images of one prompt are more alike than others.
Its influence, the reference held fixed (a U-statistic's first projection):

    IF(x_i) = 2 (mean_{j != i} k(x_i, x_j) - mean_j k(x_i, y_j)), centred,

and standard error = sd(IF) / sqrt(N), prompts as clusters. KID is usually printed as mean and
deviation over 100 random subsets of 1,000: the same expectation, more noise, and no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.errors import UsageError
from bench.metrics import references
from bench.metrics.base import Features, HeldOut
from bench.metrics.networks.base import Network
from bench.metrics.references import ReferenceFeatures
from bench.statistics.intervals import influence_by_prompt, quantile_of_normal, standard_error
from bench.statistics.result import Array, Result

Kernel = Callable[[Array, Array], Array]
COVERS = "expected value for prompts like these, reference fixed"
BLOCK = 1000  # rows of a kernel matrix at once


def polynomial(x: Array, y: Array) -> Array:
    """(x . y / d + 1)^3 (Binkowski et al. 2018, arXiv 1801.01401): [n, m]."""
    cubed: Array = (x @ y.T / x.shape[1] + 1) ** 3
    return cubed


def gaussian(x: Array, y: Array) -> Array:
    """exp(-|x - y|^2 / 200), sigma = 10 (Jayasumana et al. 2024, arXiv 2401.09603): [n, m]."""
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None] - 2 * x @ y.T
    found: Array = np.exp(-np.maximum(squares, 0) / 200)
    return found


def mmd(x: Array, y: Array, kernel: Kernel, *, biased: bool = False) -> tuple[float, Array]:
    """(MMD^2, influence of each x on it [N], mean 0) of features [N, d] and [M, d].

    biased: count each image's likeness to itself too (the V-statistic that CMMD's authors print).
    Raises ValueError for fewer than two images on a side, or another d.
    """
    if min(len(x), len(y)) < 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"need features [>= 2, d] on both sides, got {x.shape} and {y.shape}")
    within, across = _row_means(x, x, kernel, biased), _row_means(x, y, kernel, True)
    reference = _row_means(y, y, kernel, biased).mean()
    value = within.mean() - 2 * across.mean() + reference
    influence = 2 * (within - across)
    return float(value), influence - influence.mean()


def _row_means(x: Array, y: Array, kernel: Kernel, whole: bool) -> Array:
    """Mean of k(x_i, y_j) over j, for every i; without j = i where not `whole` (x is y then)."""
    sums = np.concatenate(
        [kernel(x[i : i + BLOCK], y).sum(axis=1) for i in range(0, len(x), BLOCK)]
    )
    if not whole:
        sums -= np.array([kernel(row[None], row[None])[0, 0] for row in x])
    means: Array = sums / (len(y) if whole else len(y) - 1)
    return means


@dataclass(frozen=True)
class Discrepancy(HeldOut):
    """scale * MMD^2 to a reference."""

    name: str
    reference: ReferenceFeatures
    extractor: str
    kernel: str
    biased: bool = False

    scale: ClassVar[float] = 1000.0  # papers print thousandths
    higher_is_better: ClassVar[bool] = False

    @property
    def identity(self) -> str:
        estimate = "biased" if self.biased else "unbiased"
        return (
            f"{self.name}/1;{self.scale:g}*MMD^2,{self.kernel},{estimate};"
            f"{self.reference.extractor};reference={self.reference.identity}"
        )

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """The value +- 1.96 standard errors."""
        del prompts
        x, y = (np.asarray(a, np.float64) for a in (features, self.reference.features))
        value, per_image = mmd(x, y, KERNELS[self.kernel], biased=self.biased)
        ids, influence = influence_by_prompt(self.scale * per_image, clusters)
        value, reach = self.scale * value, quantile_of_normal() * standard_error(influence)
        return Result(
            value=value, low=value - reach, high=value + reach, n=len(x), prompts=ids,
            per_prompt=None, influence=influence, covers=COVERS, kind="distance",
        )  # fmt: skip


KERNELS: dict[str, Kernel] = {"polynomial": polynomial, "gaussian": gaussian}


def kid(name: str, network: Network, settings: Mapping[str, str]) -> Discrepancy:
    """With the polynomial kernel; usually of Inception's features."""
    reference = references.features(name, network, settings)
    return Discrepancy(name, reference, network.name, "polynomial")


def cmmd(name: str, network: Network, settings: Mapping[str, str]) -> Discrepancy:
    """With the Gaussian kernel; usually of CLIP's unit embeddings. biased: "true" or "false".

    Raises UsageError for another `biased`.
    """
    biased = settings.get("biased", "false").lower()
    if biased not in ("true", "false"):
        raise UsageError(f"metrics.{name}.biased={settings['biased']}: must be true or false")
    reference = references.features(name, network, settings)
    return Discrepancy(name, reference, network.name, "gaussian", biased == "true")
