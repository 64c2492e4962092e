"""Features of every contestant -> metrics with intervals, and paired comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from bench.metrics.base import Array, Features, Ids, Metric, Result
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
    family = [
        _Pair(by_name[a], by_name[b], name)
        for a, b in pairs(s.contestant for s in scored)
        for name in by_name[a].results
        if name in by_name[b].results
        and _comparable(by_name[a].results[name], by_name[b].results[name])
    ]
    flipped = _flipped(family, max(FLIPS, 100 * len(family)), seed)
    rows = [pair.compared(p, seed) for pair, p in zip(family, flipped, strict=True)]
    adjusted = holm([row.p for row in rows])
    return [replace(r, p_adjusted=float(p)) for r, p in zip(rows, adjusted, strict=True)]


def _comparable(a: Result, b: Result) -> bool:
    if a.per_prompt is None or b.per_prompt is None:
        return a.n == b.n and np.array_equal(a.prompts, b.prompts)
    return len(np.intersect1d(a.prompts, b.prompts)) > 1


@dataclass(frozen=True)
class _Pair:
    """Two contestants on one metric, not yet compared."""

    a: Scored
    b: Scored
    metric: str

    @cached_property
    def scores(self) -> tuple[Ids, Array, Array] | None:
        """(prompts that both have, scores of a, scores of b), [G] each; None without scores."""
        a, b = self.a.results[self.metric], self.b.results[self.metric]
        if a.per_prompt is None or b.per_prompt is None:
            return None
        ids, i, j = np.intersect1d(a.prompts, b.prompts, assume_unique=True, return_indices=True)
        return ids, a.per_prompt[i], b.per_prompt[j]

    def compared(self, flipped: float | None, seed: int) -> Comparison:
        """The comparison, p not yet adjusted; flipped: p by sign flips where there are scores."""
        a, b = self.a.contestant, self.b.contestant
        if self.scores is None or flipped is None:
            first, second = self.a.results[self.metric], self.b.results[self.metric]
            delta, low, high, p = _frechet_difference(first, second)
            return Comparison(a.name, b.name, self.metric, delta, low, high, p, p, None, first.n)
        _, x, y = self.scores
        low, high = bootstrap_interval(x - y, seed=seed)
        rate = win_rate(x, y, higher_is_better=a.metrics[self.metric].higher_is_better)
        return Comparison(
            a.name, b.name, self.metric, float((x - y).mean()), low, high, flipped, flipped, rate,
            len(x),
        )  # fmt: skip


def _flipped(family: Sequence[_Pair], flips: int, seed: int) -> list[float | None]:
    """Sign-flip p of every pair that has scores; pairs on the same prompts share the flips."""
    p: list[float | None] = [None] * len(family)
    columns: dict[bytes, list[tuple[int, Array]]] = {}
    for place, pair in enumerate(family):
        if pair.scores is not None:
            ids, x, y = pair.scores
            columns.setdefault(ids.tobytes(), []).append((place, x - y))
    for same in columns.values():
        found = sign_flip_p(np.stack([d for _, d in same], axis=1), flips=flips, seed=seed)
        for (place, _), value in zip(same, found, strict=True):
            p[place] = float(value)
    return p


def _frechet_difference(a: Result, b: Result) -> tuple[float, float, float, float]:
    """(delta, low, high, p) from influences paired by prompt."""
    assert a.influence is not None
    assert b.influence is not None
    delta = a.value - b.value
    error = standard_error(a.influence - b.influence)
    reach = quantile_of_normal() * error
    return delta, delta - reach, delta + reach, normal_p(delta, error)
