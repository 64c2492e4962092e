"""`hps` and `pick`: which of two pictures of a prompt people would choose.

Networks are CLIP tuned on pairs judged by people: HPSv2 (Wu et al. 2023, arXiv 2306.09341), 100 *
cos as it prints it, and PickScore (Kirstain et al. 2023, arXiv 2305.01569). In the world, by a pool
of raters of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

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
