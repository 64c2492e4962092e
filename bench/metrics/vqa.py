"""`vqa`: the probability by a vision-language model that a picture shows its prompt, from 0 to 1.

VQAScore (Lin et al. 2024, arXiv 2404.01291): the mean of P(Yes) over pictures. Judge, question and
weights are in the identity: values of different judges are not comparable.
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
class Vqa(HeldOut):
    """network: the extractor's identity, which names judge and question."""

    network: str
    extractor: str

    name: ClassVar[str] = "vqa"
    higher_is_better: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        return f"{self.name}/1;mean P(Yes);{self.network}"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: [N, 2], P(Yes) and P(No). `parts`: what is left for other answers."""
        del prompts
        said = np.asarray(features, np.float64)
        found = mean_result(said[:, 0], clusters)
        other = float(1 - said.sum(axis=1).mean())
        return Result(**{**vars(found), "parts": {"neither yes nor no": other}})


def score(name: str, network: Network, settings: Mapping[str, str]) -> Vqa:
    """`vqa`, by a judge."""
    del name, settings
    return Vqa(network.identity, network.name)
