"""`hpsv3`: the rating that people would give a picture for its prompt, by HPSv3; no trainer here
uses it.

The mean of mu over pictures. `parts` has the deviations: that of a rating (`sigma`), as the network
says it, is no part of the interval, which is over prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.metrics.base import Features, HeldOut
from bench.metrics.networks.base import Network
from bench.statistics.result import Result, mean_result


@dataclass(frozen=True)
class Hpsv3Score(HeldOut):
    """network: the extractor's identity."""

    network: str
    extractor: str

    name: ClassVar[str] = "hpsv3"
    higher_is_better: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        return f"{self.name}/1;mean mu;{self.network}"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: [N, 2], mu and log sigma."""
        del prompts
        rated = np.asarray(features, np.float64)
        found = mean_result(rated[:, 0], clusters)
        return Result(**{**vars(found), "parts": {"sigma": float(np.exp(rated[:, 1]).mean())}})


def score(name: str, network: Network, settings: Mapping[str, str]) -> Hpsv3Score:
    """`hpsv3`, on the published network."""
    del name, settings
    return Hpsv3Score(network.identity, network.name)
