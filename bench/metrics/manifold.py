"""`precision` and `recall` of Kynkaanniemi et al. 2019 (arXiv 1904.06991), by nearest neighbours.

A set's manifold is the union of balls around its features, each out to the k-th nearest other
feature of the set. precision: share of a contestant's images inside the reference's manifold;
recall: share of the reference's images inside the contestant's. Both depend on the number of
images on either side: compare at one N only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.errors import UsageError
from bench.metrics import references
from bench.metrics.base import Features, HeldOut
from bench.metrics.networks.base import Network
from bench.metrics.references import ReferenceFeatures
from bench.statistics.intervals import wilson_interval
from bench.statistics.result import Array, Result, share_result

BLOCK = 1000  # rows of a distance matrix at once


def radii(x: Array, k: int) -> Array:
    """Squared distance of each feature to its k-th nearest other one: [N]."""
    found = [np.partition(squares, k, axis=1)[:, k] for squares in _blocks(x, x)]
    return np.concatenate(found)  # the nearest of all is the feature itself


def inside(x: Array, y: Array, radius: Array) -> Array:
    """1 where x_i lies in some ball around y_j of squared radius_j, else 0: [N]."""
    found = [(squares <= radius[None]).any(axis=1) for squares in _blocks(x, y)]
    return np.concatenate(found).astype(np.float64)


def _blocks(x: Array, y: Array) -> Iterator[Array]:
    """Squared distances from some x at a time to all y."""
    lengths = (y**2).sum(axis=1)
    for start in range(0, len(x), BLOCK):
        part = x[start : start + BLOCK]
        squares = (part**2).sum(axis=1)[:, None] + lengths[None] - 2 * part @ y.T
        yield np.maximum(squares, 0)


@dataclass(frozen=True)
class Precision(HeldOut):
    """reference: of real images.  k: of the nearest neighbour that bounds a ball."""

    reference: ReferenceFeatures
    extractor: str
    k: int = 3

    name: ClassVar[str] = "precision"
    higher_is_better: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        near = f"k={self.k};{self.reference.extractor}"
        return f"{self.name}/1;{near};reference={self.reference.identity}"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """The share of images in the reference's manifold, with Wilson's interval."""
        del prompts
        x, y = (np.asarray(a, np.float64) for a in (features, self.reference.features))
        return share_result(inside(x, y, radii(y, self.k)), clusters)


class Recall(Precision):
    """`recall`: a share of the reference's images, so it has no score of one prompt."""

    name: ClassVar[str] = "recall"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """The share of the reference in the images' manifold; the interval is over reference
        images, these images held fixed."""
        del prompts
        x, y = (np.asarray(a, np.float64) for a in (features, self.reference.features))
        covered = inside(y, x, radii(x, self.k))
        low, high = wilson_interval(covered)
        return Result(
            value=float(covered.mean()), low=low, high=high, n=len(x),
            prompts=np.unique(np.asarray(clusters)), per_prompt=None,
            covers="share of reference images like these, the contestant's images fixed",
            kind="share",
        )  # fmt: skip


def precision(name: str, network: Network, settings: Mapping[str, str]) -> Precision:
    """Against real images. k: a whole number. Raises UsageError for another `k`."""
    return Precision(*_given(name, network, settings))


def recall(name: str, network: Network, settings: Mapping[str, str]) -> Recall:
    """As `precision`."""
    return Recall(*_given(name, network, settings))


def _given(
    name: str, network: Network, settings: Mapping[str, str]
) -> tuple[ReferenceFeatures, str, int]:
    k = settings.get("k", "3")
    reference = references.features(name, network, settings)
    if not k.isdigit() or int(k) < 1:
        raise UsageError(f"metrics.{name}.k={k}: must be a whole number >= 1")
    return reference, network.name, int(k)
