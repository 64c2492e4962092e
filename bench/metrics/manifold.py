"""`precision` and `recall` of Kynkaanniemi et al. 2019 (arXiv 1904.06991), by nearest neighbours.

A set's manifold is the union of balls around its features, each out to the k-th nearest other
feature of the set. precision: share of a contestant's images inside the reference's manifold;
recall: share of the reference's images inside the contestant's. Both depend on the number of
images on either side: compare at one N only.

Recall has no score of one image. What an image adds is what the share loses without it, a
jackknife: reference images that it alone covers, less those that the balls reach which it bounded
and which then go out to the next neighbour. Standard errors of it are too large by a factor of 1.2
to 1.6: the interval covers 99 to 100 % of new sets of images, where one over the reference images
alone covers 81 to 88 % (`tests/statistics/test_coverage.py -m slow`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.metrics import references
from bench.metrics.base import Features, HeldOut
from bench.metrics.networks.base import Network
from bench.metrics.references import ReferenceFeatures
from bench.statistics.intervals import influence_by_prompt, quantile_of_normal, standard_error
from bench.statistics.result import Array, Result, share_result

COVERS = "expected value at this number of images, reference fixed"
BLOCK = 1000  # rows of a distance matrix at once


def radii(x: Array, k: int) -> Array:
    """Squared distance of each feature to its k-th nearest other one: [N]."""
    found = [np.partition(squares, k, axis=1)[:, k] for squares in _blocks(x, x)]
    return np.concatenate(found)  # the nearest of all is the feature itself


def inside(x: Array, y: Array, radius: Array) -> Array:
    """1 where x_i lies in some ball around y_j of squared radius_j, else 0: [N]."""
    found = [(squares <= radius[None]).any(axis=1) for squares in _blocks(x, y)]
    return np.concatenate(found).astype(np.float64)


def recall_influence(x: Array, y: Array, k: int) -> tuple[float, Array]:
    """(share of y inside the manifold of x, what each x adds to it, centred and times N - 1: [N]).

    Raises ValueError for fewer than k + 2 images in x.
    """
    if len(x) < k + 2:
        raise ValueError(f"needs at least {k + 2} images for k={k}, got {len(x)}")
    near, radius, next_radius = _neighbours(x, k)
    covered, change = 0, np.zeros(len(x))
    for squares in _blocks(y, x):
        within = squares <= radius
        beyond = (squares <= next_radius) & ~within
        times = within.sum(axis=1)
        covered += int((times > 0).sum())
        for row in np.flatnonzero(times == 0):
            change[np.unique(near[beyond[row]])] += 1
        for row in np.flatnonzero(times == 1):
            only = int(within[row].argmax())
            change[only] -= not (near[beyond[row]] == only).any()
    influence = -(len(x) - 1) * change / len(y)
    return covered / len(y), influence - influence.mean()


def _neighbours(x: Array, k: int) -> tuple[NDArray[np.intp], Array, Array]:
    """(the k nearest others of each [N, k], squared distance of the k-th [N], of the next one)."""
    near, last, following = [], [], []
    for start, squares in zip(range(0, len(x), BLOCK), _blocks(x, x), strict=True):
        rows = np.arange(len(squares))
        squares[rows, start + rows] = -1.0  # the nearest of all is the feature itself
        order = np.argpartition(squares, [k, k + 1], axis=1)[:, : k + 2]
        order = np.take_along_axis(
            order, np.argsort(np.take_along_axis(squares, order, axis=1), axis=1), axis=1
        )
        found = np.take_along_axis(squares, order, axis=1)
        near.append(order[:, 1 : k + 1])
        last.append(found[:, k])
        following.append(found[:, k + 1])
    return np.concatenate(near), np.concatenate(last), np.concatenate(following)


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
        """The share of the reference in the images' manifold, +- 1.96 standard errors."""
        del prompts
        x, y = (np.asarray(a, np.float64) for a in (features, self.reference.features))
        value, per_image = recall_influence(x, y, self.k)
        ids, influence = influence_by_prompt(per_image, clusters)
        reach = quantile_of_normal() * standard_error(influence)
        return Result(
            value=value, low=max(0.0, value - reach), high=min(1.0, value + reach), n=len(x),
            prompts=ids, per_prompt=None, influence=influence, covers=COVERS, kind="share",
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
    if not k.isdigit() or int(k) < 1:
        raise UsageError(f"metrics.{name}.k={k}: must be a whole number >= 1")
    return references.features(name, network, settings), network.name, int(k)
