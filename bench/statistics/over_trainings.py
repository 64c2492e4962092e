"""A row's value over several trainings of its method: mean, interval and single values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.results.summary import LEAST_SEEDS, OverTrainings
from bench.statistics.comparisons import Scored
from bench.statistics.method_difference import method_difference
from bench.statistics.result import Result, by_training


def over_trainings(
    rows: Sequence[Scored], trainings: Sequence[Scored]
) -> dict[str, dict[str, OverTrainings]]:
    """Values over trainings by row and metric, for rows with at least three trainings, the row's
    own first.

    trainings: further trainings of the rows' methods, which have no rows of their own.
    """
    found = {}
    for row in rows:
        further = [other for other in trainings if _alike(other, row)]
        values = {}
        for metric, result in row.results.items():
            others = [other.results[metric] for other in further if metric in other.results]
            over = _over([result, *others])
            if over is not None:
                values[metric] = over
        if values:
            found[row.contestant.name] = values
    return found


def _alike(one: Scored, other: Scored) -> bool:
    a, b = one.contestant, other.contestant
    return (a.method, a.steps) == (b.method, b.steps)


def _over(results: Sequence[Result]) -> OverTrainings | None:
    """The interval is over new trainings and new prompts, by the model of claims; None where the
    trainings are too few, are of other prompts, or say nothing of single ones."""
    first = results[0]
    if len(results) < LEAST_SEEDS or any(
        r.by_prompt is None or not np.array_equal(r.prompts, first.prompts) for r in results
    ):
        return None
    scores = by_training(results)
    d = method_difference(scores, np.zeros((1, scores.shape[1])))
    low = d.low if first.kind == "mean" else max(0.0, d.low)
    high = min(1.0, d.high) if first.kind == "share" else d.high
    return OverTrainings(d.delta, low, high, [result.value for result in results])
