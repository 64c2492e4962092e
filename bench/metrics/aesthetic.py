"""`aesthetic`: a predicted rating from 1 to 10 of the picture alone, read from CLIP's embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from bench.metrics.base import Features, uses_feedback
from bench.statistics.result import Result, mean_result

Head = Callable[[Features], Any]


@dataclass(frozen=True)
class Aesthetic:
    """head: unit image embeddings [N, D] -> ratings [N].  network: identity of head and CLIP.

    of_feedback: what a method with human feedback saw of it (see `trained_on`).
    """

    head: Head
    network: str
    extractor: str = "shapes_clip"
    of_feedback: str = "labels"

    name: ClassVar[str] = "aesthetic"
    higher_is_better: ClassVar[bool] = True

    @classmethod
    def load(cls, references: dict[str, Any] | None = None) -> Aesthetic:
        """With the installed head; it is loaded at the first `evaluate`."""
        from bench.metrics.extractors import identity
        from hypersd.shapes.weights import weights_sha256

        checksum = weights_sha256("aesthetic")[:12]
        return cls(_installed_head, f"head={checksum};{identity(cls.extractor)}")

    @property
    def identity(self) -> str:
        return f"{self.name}/1;rating 1-10;{self.network}"

    def trained_on(self, method: str) -> str:
        """In the world, methods with feedback are rewarded by another network that learned the same
        ratings; published ones by this very network."""
        return self.of_feedback if uses_feedback(method) else "no"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: unit image embeddings [N, D]; prompts are not looked at."""
        del prompts
        return mean_result(np.asarray(self.head(features), np.float64), clusters)


def _installed_head(features: Features) -> Any:
    import torch

    with torch.inference_mode():
        return _head()(torch.as_tensor(features)).float().cpu().numpy()


@cache
def _head() -> Any:
    from hypersd.shapes.evaluators import load_aesthetic

    return load_aesthetic("cpu")
