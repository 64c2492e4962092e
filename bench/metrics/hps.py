"""`hps`, `pick`, and the world's `image_reward`: which of two pictures of a prompt people would
choose.

Networks are CLIP tuned on pairs judged by people: HPSv2 (Wu et al. 2023, arXiv 2306.09341), 100 *
cos as it prints it, and PickScore (Kirstain et al. 2023, arXiv 2305.01569). The world's three are
of one architecture and tuned on the votes of three disjoint pools of raters, each with a utility of
its own (`hypersd.shapes.raters.POOLS`); the published ImageReward is another kind of network
(`bench.metrics.image_reward`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.metrics.base import uses_feedback
from bench.metrics.clip import CosineScore


@dataclass(frozen=True)
class Hps(CosineScore):
    """`hps`: its raters are in no reward, so `trained_on` is "no"."""

    extractor: str = "shapes_hps"

    name: ClassVar[str] = "hps"
    weights: ClassVar[str] = "hps"


@dataclass(frozen=True)
class PickScore(CosineScore):
    """`pick`: the network's embedding carries its own scale (about 100), so the unit is 1."""

    unit: float = 1.0

    name: ClassVar[str] = "pick"


@dataclass(frozen=True)
class WorldPick(CosineScore):
    """The world's `pick`: its raters are in no reward."""

    extractor: str = "shapes_pick"

    name: ClassVar[str] = "pick"
    weights: ClassVar[str] = "pick"


@dataclass(frozen=True)
class WorldImageReward(CosineScore):
    """The world's `image_reward`: its network is one of the two rewards of feedback learning."""

    extractor: str = "shapes_image_reward"

    name: ClassVar[str] = "image_reward"
    weights: ClassVar[str] = "image_reward"

    def trained_on(self, method: str) -> str:
        """Methods with feedback were rewarded by this very network."""
        return "network" if uses_feedback(method) else "no"
