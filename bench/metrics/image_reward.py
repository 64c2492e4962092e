"""`image_reward`: which picture of a prompt people prefer, about a standard normal.

The network reads picture and prompt together (`bench.metrics.networks.image_reward`), so its
feature is the score itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from bench.metrics.base import Features, uses_feedback
from bench.metrics.networks.base import Network
from bench.metrics.networks.image_reward import ImageReward
from bench.statistics.result import Result, mean_result


@dataclass(frozen=True)
class ImageRewardScore:
    """network: the extractor's identity.  too_long: whether the network cuts each of some texts."""

    network: str
    extractor: str = "image_reward"
    too_long: Callable[[list[str]], list[bool]] | None = field(default=None, compare=False)

    name: ClassVar[str] = "image_reward"
    higher_is_better: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        return f"{self.name}/1;mean;{self.network}"

    def trained_on(self, method: str) -> str:
        """It is one of the two rewards of Hyper-SD and of this project's feedback at scale."""
        return "network" if uses_feedback(method) else "no"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: scores [N, 1]."""
        del prompts
        return mean_result(np.asarray(features, np.float64)[:, 0], clusters)

    def truncated(self, prompts: Sequence[str]) -> list[bool] | None:
        """Whether the network cuts each prompt; None if unknown."""
        return None if self.too_long is None else self.too_long(list(prompts))


def score(name: str, network: Network, settings: Mapping[str, str]) -> ImageRewardScore:
    """`image_reward`, on the published network."""
    del name, settings
    assert isinstance(network, ImageReward)
    return ImageRewardScore(network.identity, network.name, network.cut)
