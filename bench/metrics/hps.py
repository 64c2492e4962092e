"""`hps`: which of two pictures of a prompt people would choose, 100 * cos as HPSv2 prints it.

The network is CLIP fine-tuned on pairs judged by a rater pool of its own (Wu et al. 2023).
"""

from __future__ import annotations

from typing import ClassVar

from bench.metrics.clip import CosineScore


class Hps(CosineScore):
    """`hps`: its raters are disjoint from those of every reward, so `trained_on` is "no"."""

    name: ClassVar[str] = "hps"
    extractor: ClassVar[str] = "shapes_hps"
    weights: ClassVar[str] = "hps"
