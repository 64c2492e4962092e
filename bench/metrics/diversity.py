"""`diversity`: how much the pictures of one prompt differ between seeds.

Mean over prompts of the mean 1 - cos between the embeddings of a prompt's pictures, two seeds or
more. Few-step students tend to draw one picture per prompt; no distance between sets shows it, as
sets over many prompts stay wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.errors import UsageError
from bench.metrics.base import Features
from bench.metrics.networks.base import Network
from bench.statistics.result import Array, Ids, Result, mean_result


@dataclass(frozen=True)
class Diversity:
    """network: the extractor's identity. over: the images it is computed on, if not all of them."""

    network: str
    extractor: str
    over: str = ""

    name: ClassVar[str] = "diversity"
    higher_is_better: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        over = f"over {self.over};" if self.over else ""
        return f"{self.name}/1;mean 1-cos over pairs of seeds;{over}{self.network}"

    def trained_on(self, method: str) -> str:
        """No trainer uses it."""
        return "no"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: embeddings [N, D], of any length; images of one cluster are compared.

        Raises UsageError where a prompt has a single image.
        """
        del prompts
        if np.unique(clusters, return_counts=True)[1].min() < 2:
            raise UsageError("metric 'diversity': needs two seeds or more; set seeds=[0,1]")
        ids, apart = of_pairs(features, clusters)
        whole = mean_result(apart, ids.tolist())
        return Result(**{**vars(whole), "n": len(features)})


def of_pairs(features: Features, clusters: Sequence[int]) -> tuple[Ids, Array]:
    """(prompt ids ascending [G], mean 1 - cos over the pairs of each prompt's pictures [G]).

    features: embeddings [N, D], of any length.  clusters: N prompt ids, each two times or more.
    """
    ids, inverse, counts = np.unique(clusters, return_inverse=True, return_counts=True)
    x = unit(features)
    sums = np.zeros((len(ids), x.shape[1]))
    np.add.at(sums, inverse, x)
    # |sum of unit vectors|^2 = n + sum of the cosines of all ordered pairs
    cosines = ((sums**2).sum(axis=1) - counts) / (counts * (counts - 1))
    return ids, 1 - cosines


def unit(features: Features) -> Array:
    """The rows at length one, in float64."""
    x = np.asarray(features, np.float64)
    scaled: Array = x / np.linalg.norm(x, axis=1, keepdims=True)
    return scaled


def between_seeds(name: str, network: Network, settings: Mapping[str, str]) -> Diversity:
    """`diversity`, through a network's embedding."""
    del name, settings
    return Diversity(network.identity, network.name)
