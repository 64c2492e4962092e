"""Features of every contestant -> metrics with intervals, and paired comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics.base import Array, Features, Metric, Result
from bench.statistics import (
    FLIPS,
    bootstrap_interval,
    holm,
    normal_p,
    quantile_of_normal,
    sign_flip_p,
    standard_error,
    win_rate,
)
from bench.summary import Comparison, Contestant, MetricValue


@dataclass(frozen=True)
class Entry:
    """One contestant and what was measured on its N images.

    contestant: its metrics are filled in by `score`.  features: [N, D] by extractor name.
    prompts: N texts the images are scored against.  clusters: N prompt ids (seeds share one).
    """

    contestant: Contestant
    features: Mapping[str, Features]
    prompts: Sequence[str]
    clusters: Sequence[int]


@dataclass(frozen=True)
class Scored:
    """A contestant with its metrics filled in, and the results that comparisons are made of."""

    contestant: Contestant
    results: Mapping[str, Result] = field(default_factory=dict)


def score(entry: Entry, metrics: Sequence[Metric]) -> Scored:
    """Every metric whose extractor's features are there.

    Raises ValueError where a value is not finite, and what the metrics raise.
    """
    results: dict[str, Result] = {}
    for metric in metrics:
        if metric.extractor in entry.features:
            found = metric.evaluate(entry.features[metric.extractor], entry.prompts, entry.clusters)
            if not np.isfinite([found.value, found.low, found.high]).all():
                raise ValueError(f"{entry.contestant.name}: {metric.name} is not finite")
            results[metric.name] = found
    method = entry.contestant.method
    values = {m.name: _value(m, results[m.name], method) for m in metrics if m.name in results}
    return Scored(replace(entry.contestant, metrics=values), results)


def _value(metric: Metric, result: Result, method: str) -> MetricValue:
    trained_on: Any = metric.trained_on(method)
    return MetricValue(
        value=result.value,
        low=result.low,
        high=result.high,
        n=result.n,
        identity=metric.identity,
        higher_is_better=metric.higher_is_better,
        trained_on=trained_on,
        covers=result.covers,
        parts=result.parts,
    )


def pairs(contestants: Iterable[Contestant]) -> list[tuple[str, str]]:
    """Who is compared: all of one step count with each other, then each with the teacher.

    Anchors give the scale and are compared with nobody.
    """
    rivals = [c for c in contestants if not c.is_anchor]
    students = [c for c in rivals if c.method != "teacher"]
    same = [(a.name, b.name) for a, b in combinations(students, 2) if a.steps == b.steps]
    teachers = [c for c in rivals if c.method == "teacher"]
    return same + [(s.name, t.name) for s in students for t in teachers]


def compare(scored: Sequence[Scored], *, seed: int = 0) -> list[Comparison]:
    """Every pair of `pairs` on every metric both have, paired by prompt, Holm over all of them.

    Scores: bootstrap interval and sign-flip p of the mean difference on the prompts both have.
    Frechet distance: difference of the values, interval and p from the difference of the
    influences; left out where the prompts differ, since the value depends on their number.
    """
    by_name = {s.contestant.name: s for s in scored}
    found = [
        (a, b, name)
        for a, b in pairs(s.contestant for s in scored)
        for name in by_name[a].results
        if name in by_name[b].results
        and _comparable(by_name[a].results[name], by_name[b].results[name])
    ]
    rows = [
        _compared(by_name[a], by_name[b], name, flips=max(FLIPS, 100 * len(found)), seed=seed)
        for a, b, name in found
    ]
    adjusted = holm([row.p for row in rows])
    return [replace(r, p_adjusted=float(p)) for r, p in zip(rows, adjusted, strict=True)]


def _comparable(a: Result, b: Result) -> bool:
    if a.per_prompt is None or b.per_prompt is None:
        return a.n == b.n and np.array_equal(a.prompts, b.prompts)
    return len(np.intersect1d(a.prompts, b.prompts)) > 1


def _compared(a: Scored, b: Scored, metric: str, *, flips: int, seed: int) -> Comparison:
    first, second = a.results[metric], b.results[metric]
    higher = a.contestant.metrics[metric].higher_is_better
    rate: float | None = None
    if first.per_prompt is None or second.per_prompt is None:
        delta, low, high, p = _frechet_difference(first, second)
        n = first.n
    else:
        x, y = _on_common_prompts(first, second)
        delta, n = float((x - y).mean()), len(x)
        low, high = bootstrap_interval(x - y, seed=seed)
        p = float(sign_flip_p(x - y, flips=flips, seed=seed))
        rate = win_rate(x, y, higher_is_better=higher)
    names = a.contestant.name, b.contestant.name
    return Comparison(*names, metric, delta, low, high, p, p, rate, n)


def _on_common_prompts(a: Result, b: Result) -> tuple[Array, Array]:
    _, i, j = np.intersect1d(a.prompts, b.prompts, assume_unique=True, return_indices=True)
    return _scores(a)[i], _scores(b)[j]


def _scores(result: Result) -> NDArray[np.float64]:
    assert result.per_prompt is not None
    return result.per_prompt


def _frechet_difference(a: Result, b: Result) -> tuple[float, float, float, float]:
    """(delta, low, high, p) from influences paired by prompt."""
    assert a.influence is not None
    assert b.influence is not None
    delta = a.value - b.value
    error = standard_error(a.influence - b.influence)
    reach = quantile_of_normal() * error
    return delta, delta - reach, delta + reach, normal_p(delta, error)
