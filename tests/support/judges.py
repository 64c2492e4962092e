"""Metrics without networks, in the place of all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.metrics.base import Extractor, Features, Metric
from bench.statistics.result import Result, mean_result


@dataclass(frozen=True)
class Patches:
    """Mean colours of parts x parts pieces of a picture as features: [B, 3 parts^2].

    seen: how many images each call saw.
    """

    parts: int = 4
    name: str = "patches"
    identity: str = "patches/1"
    partial: bool = False
    seen: list[int] = field(default_factory=list, compare=False)

    def __call__(self, images: Any, prompts: Sequence[str]) -> Features:
        assert len(images) == len(prompts)
        self.seen.append(len(images))
        count, height, width, _ = images.shape
        pieces = (count, self.parts, height // self.parts, self.parts, width // self.parts, 3)
        means: Features = np.asarray(images, np.float32).reshape(pieces).mean(axis=(2, 4))
        return means.reshape(count, -1) / 255


@dataclass(frozen=True)
class Brightness:
    """The mean of the features."""

    name: str
    extractor: str = "patches"
    higher_is_better: bool = True
    identity: str = "brightness/1"

    def trained_on(self, method: str) -> str:
        return "no"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        return mean_result(features.mean(axis=1).astype(np.float64), clusters)


@dataclass
class Judges:
    """What runs find as `bench.metrics`: one extractor, and the brightness under every name that is
    not in `metrics`."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    extractor: Extractor = field(default_factory=Patches)

    def install(self, patch: Callable[[Any, str, Any], None]) -> None:
        """patch: `setattr`, or one that is undone."""
        from bench import metrics

        patch(metrics, "metric", self._metric)
        patch(metrics, "extractor", lambda name, device: self.extractor)

    def _metric(self, name: str, settings: Mapping[str, str], published: bool) -> Metric:
        return self.metrics.get(name) or Brightness(name)
