"""A metric's value on one contestant, with its interval and what each prompt adds to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.results.entries import Arrays
from bench.results.run_folder import RunFolder
from bench.results.summary import Kind, MetricValue
from bench.statistics.intervals import (
    bootstrap_interval,
    by_prompt,
    standard_error,
    wilson_interval,
)

UNTESTED = "it has neither scores nor influences of single prompts"
Array = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Result:
    """A metric's value on one contestant.

    value: over all prompts.  low, high: 95 % interval of the quantity that `covers` names. n:
    images.  prompts: ids, ascending [G].  per_prompt: [G] scores whose mean is `value`, or None
    where there is no score of one image.  influence: [G], for metrics without per-prompt scores:
    what each prompt adds to the deviation of `value`, centred at 0 and scaled so that their mean's
    standard error is that of `value`.  parts: a breakdown, if the metric has one. kind: "mean" of
    scores, "share" of right and wrong, "distance", or "ratio" to the teacher's value.  at_infinity:
    where a distance would tend to with ever more images.  doubt: why the interval may not hold, for
    the ledger; empty without a doubt.
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
    doubt: str = ""

    @property
    def by_prompt(self) -> Array | None:
        """[G] scores, else influences; None where no test by prompt is possible."""
        return self.per_prompt if self.per_prompt is not None else self.influence

    @property
    def error(self) -> float | None:
        """Standard error of `value` over prompts; None of a single prompt."""
        spread = self.by_prompt
        return None if spread is None or len(spread) < 2 else standard_error(spread)


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


def by_training(results: Sequence[Result]) -> Array:
    """[S, G]: scores of one prompt set by training and prompt; a distance as its value plus
    influences. Raises ValueError where a result has neither, or another number of prompts."""
    rows = []
    for result in results:
        if result.by_prompt is None:
            raise ValueError(UNTESTED)
        rows.append(result.by_prompt + (result.value if result.per_prompt is None else 0.0))
    return np.stack(rows)


def to_arrays(results: Mapping[str, Result]) -> Arrays:
    """`<metric>`: scores, or `<metric>.influence`; `<metric>.prompts`: whose they are. [G] each."""
    arrays: Arrays = {}
    for name, result in results.items():
        arrays[f"{name}.prompts"] = np.asarray(result.prompts)
        if result.per_prompt is not None:
            arrays[name] = np.asarray(result.per_prompt)
        elif result.influence is not None:
            arrays[f"{name}.influence"] = np.asarray(result.influence)
    return arrays


def from_arrays(values: Mapping[str, MetricValue], arrays: Arrays) -> dict[str, Result]:
    """The results behind a contestant's metrics, of those whose prompts `to_arrays` had written."""
    return {
        metric: Result(
            value.value, value.low, value.high, value.n, prompts, arrays.get(metric),
            arrays.get(f"{metric}.influence"), value.covers, value.parts, value.kind,
            value.at_infinity,
        )
        for metric, value in values.items()
        if (prompts := arrays.get(f"{metric}.prompts")) is not None
    }  # fmt: skip


def results_of(folder: RunFolder, name: str) -> dict[str, Result]:
    """Every metric of a contestant of a run folder, for tests by prompt.

    Raises UsageError where scores and influences of a metric that had them are missing or damaged.
    """
    values = folder.summary.contestant(name).metrics
    found = from_arrays(values, folder.scores(name))
    for metric, value in values.items():
        result = found.get(metric)
        if result is None or (result.by_prompt is None and value.error is not None):
            raise folder.incomplete(f"scores/{name}.safetensors lacks {metric}")
    return found
