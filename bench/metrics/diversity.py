"""`diversity`: how much the pictures of one prompt differ from seed to seed.

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
from bench.statistics.result import Result, mean_result


@dataclass(frozen=True)
class Diversity:
    """network: the extractor's identity.  over: which images it is of, where not all of them."""

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
        ids, inverse, counts = np.unique(clusters, return_inverse=True, return_counts=True)
        if counts.min() < 2:
            raise UsageError("metric 'diversity': needs two seeds or more; set seeds=[0,1]")
        x = np.asarray(features, np.float64)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        sums = np.zeros((len(ids), x.shape[1]))
        np.add.at(sums, inverse, x)
        # |sum of unit vectors|^2 = n + sum of the cosines of all ordered pairs
        cosines = ((sums**2).sum(axis=1) - counts) / (counts * (counts - 1))
        whole = mean_result(1 - cosines, ids.tolist())
        return Result(**{**vars(whole), "n": len(x)})


def between_seeds(name: str, network: Network, settings: Mapping[str, str]) -> Diversity:
    """`diversity`, through a network's embedding."""
    del name, settings
    return Diversity(network.identity, network.name)
