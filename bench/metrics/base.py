"""What every metric gives: features of images, and a value with its interval from features.

An extractor runs once per image and its output is kept; a metric is cheap arithmetic on that
output and is computed again for every report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.statistics import bootstrap_interval, by_prompt, standard_error, wilson_interval

Features = NDArray[np.float32]
Array = NDArray[np.float64]
Ids = NDArray[np.int64]
Kind = Literal["mean", "share", "distance"]
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


@dataclass(frozen=True)
class Result:
    """A metric's value on one contestant.

    value: over all prompts.  low, high: 95 % interval of the quantity that `covers` names.
    n: images.  prompts: ids, ascending [G].  per_prompt: [G] scores whose mean is `value`, or
    None where there is no score of one image.  influence: [G], for metrics without per-prompt
    scores: what each prompt adds to the deviation of `value`, centred at 0 and scaled so that
    their mean's standard error is that of `value`.  parts: a breakdown, if the metric has one.
    kind: "mean" of scores, "share" of right and wrong, or "distance".  at_infinity: where a
    distance would tend to with ever more images.
    """

    value: float
    low: float
    high: float
    n: int
    prompts: Ids
    per_prompt: Array | None
    influence: Array | None = None
    covers: str = "mean over prompts like these"
    parts: dict[str, float] = field(default_factory=dict)
    kind: Kind = "mean"
    at_infinity: float | None = None

    @property
    def error(self) -> float | None:
        """Standard error of `value` over prompts; None of a single prompt."""
        spread = self.per_prompt if self.per_prompt is not None else self.influence
        return None if spread is None or len(spread) < 2 else standard_error(spread)


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


def mean_result(scores: Array, clusters: Sequence[int]) -> Result:
    """The mean over prompts with a bootstrap interval. scores: [N]."""
    ids, means = by_prompt(scores, clusters)
    low, high = bootstrap_interval(means)
    return Result(float(means.mean()), low, high, len(scores), ids, means)


def share_result(scores: Array, clusters: Sequence[int]) -> Result:
    """The mean over prompts of scores in [0, 1], with Wilson's interval. scores: [N]."""
    ids, means = by_prompt(scores, clusters)
    low, high = wilson_interval(means)
    return Result(float(means.mean()), low, high, len(scores), ids, means, kind="share")


def uses_feedback(method: str) -> bool:
    """Whether a method's trainer has a human-feedback stage (aesthetic and preference rewards)."""
    return method.endswith(FEEDBACK) or method.startswith("hyper_sd")


def rewarded(method: str) -> str:
    """How `Metric.trained_on` is told of a method whose weights' card names rewards, whatever it is
    called."""
    return method if uses_feedback(method) else f"{method}{FEEDBACK}"
