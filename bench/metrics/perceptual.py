"""`lpips_teacher`, `perceptual_teacher`: the perceptual distance of a picture to the teacher's,
drawn from the same prompt and noise.

A distilled student that follows its teacher's trajectories draws nearly the same picture; one that
matches distributions alone need not. A low value means near, not better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.metrics.base import Features, HeldOut
from bench.metrics.networks.base import Network
from bench.statistics.result import Result, mean_result


@dataclass(frozen=True)
class TeacherDistance(HeldOut):
    """network: the extractor's identity, which names the teacher."""

    name: str
    network: str
    extractor: str

    higher_is_better: ClassVar[bool] = False

    @property
    def identity(self) -> str:
        return f"{self.name}/1;mean distance from the teacher's picture;{self.network}"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: distances [N, 1]."""
        del prompts
        return mean_result(features[:, 0].astype("float64"), clusters)


def to_teacher(name: str, network: Network, settings: Mapping[str, str]) -> TeacherDistance:
    """The distance of a network, which names the teacher."""
    del settings
    return TeacherDistance(name, network.identity, network.name)
