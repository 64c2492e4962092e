"""What every metric gives: features of images, and a value with its interval from features.

An extractor runs once per image and its output is kept; a metric is cheap arithmetic on that
output and is computed again for every report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.statistics.result import Result

Features = NDArray[np.float32]
FEEDBACK = "_feedback"


class Extractor(Protocol):
    """Images -> features, one row per image."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str:
        """Model, sha256 of its weights, preprocessing and output: equal means comparable."""
        ...

    @property
    def partial(self) -> bool:
        """Whether columns but the first may be nan: what a prompt does not ask for."""
        ...

    def __call__(self, images: Any, prompts: Sequence[str]) -> Features:
        """[B, D] fp32 of uint8 images [B, H, W, 3] (array or tensor) and their prompts."""
        ...


class Metric(Protocol):
    """Features -> value with interval.

    `extractor` names whose features it needs; `trained_on` tells of a method's trainer whether it
    saw this network ("network"), its raters through another network ("labels") or neither ("no").
    """

    @property
    def name(self) -> str: ...

    @property
    def extractor(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...

    @property
    def identity(self) -> str: ...

    def trained_on(self, method: str) -> str: ...

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: [N, D]; prompts: N texts; clusters: N prompt ids (seeds share one)."""
        ...


class HeldOut:
    """A metric that no trainer of this project has for a loss or a reward, in any form."""

    def trained_on(self, method: str) -> str:
        """Never."""
        del method
        return "no"


def uses_feedback(method: str) -> bool:
    """Whether a method's trainer has a human-feedback stage (aesthetic and preference rewards)."""
    return method.endswith(FEEDBACK) or method.startswith("hyper_sd")


def rewarded(method: str) -> str:
    """How `Metric.trained_on` is told of a method whose weights' card names rewards, whatever it is
    called."""
    return method if uses_feedback(method) else f"{method}{FEEDBACK}"
