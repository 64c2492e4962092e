"""Interfaces: an extractor turns images into features, a metric features into a value with
interval.

An extractor runs once per image and its output is cached; a metric is cheap arithmetic on the
features and is computed again for every report.
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
        """Whether columns other than the first may be nan, for attributes that a prompt does not
        name."""
        ...

    def __call__(self, images: Any, prompts: Sequence[str]) -> Features:
        """[B, D] fp32 of uint8 images [B, H, W, 3] (array or tensor) and their prompts."""
        ...


class Metric(Protocol):
    """Features -> value with interval.

    `extractor` names the features it needs; `trained_on` says whether a method's training used this
    network ("network"), the same raters through another network ("labels") or neither ("no").
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
    """A metric that no trainer of this project uses as a loss or a reward, in any form."""

    def trained_on(self, method: str) -> str:
        """Never."""
        del method
        return "no"


def uses_feedback(method: str) -> bool:
    """Whether a method's trainer has a human-feedback stage (aesthetic and preference rewards)."""
    return method.endswith(FEEDBACK) or method.startswith("hyper_sd")


def rewarded(method: str) -> str:
    """The name of a method for `Metric.trained_on`, marked where its card names rewards."""
    return method if uses_feedback(method) else f"{method}{FEEDBACK}"
