"""The rows of a run, scored: `diversity` on a suite's `repeats`, all else on the scored keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from bench.errors import brief
from bench.metrics.base import Features, Metric, rewarded
from bench.results.entries import Arrays
from bench.results.keys import Key
from bench.results.summary import Contestant, MetricValue
from bench.run.plan import Plan
from bench.run.rows import Outcome
from bench.statistics.comparisons import Scored
from bench.statistics.metrics import spec
from bench.statistics.result import Result


def scored(
    plan: Plan, outcome: Outcome, contestant: Contestant, metrics: Sequence[Metric]
) -> Scored:
    """A row with all its metrics. Anchors, which nothing draws anew, have no diversity there."""
    is_rewarded = outcome.planned.card.is_rewarded

    def entry(features: Arrays, keys: Sequence[Key]) -> MeasuredContestant:
        prompts, clusters = [key.prompt for key in keys], [key.index for key in keys]
        return MeasuredContestant(contestant, features, prompts, clusters, is_rewarded)

    apart = [metric for metric in metrics if spec(metric.name).of_repeats and plan.suite.repeats]
    rest = [metric for metric in metrics if metric not in apart]
    if contestant.is_anchor:  # a real picture is the same with every seed
        rest = [metric for metric in rest if not spec(metric.name).of_teacher]
    found = score(entry(outcome.features, plan.keys), rest)
    return joined(found, score(entry(outcome.repeated, plan.repeats), apart)) if apart else found


def beside_teacher(
    plan: Plan, outcomes: Sequence[Outcome], metrics: Sequence[Metric]
) -> list[Metric]:
    """The metrics, of which shares of the teacher's own value know its pictures, if it is drawn."""
    found = next((o for o in outcomes if o.planned.row.settings.method == "teacher"), None)
    if found is None:
        return list(metrics)
    features, keys = found.features, plan.keys
    if plan.suite.repeats is not None:
        features, keys = found.repeated, list(plan.repeats)
    clusters = [key.index for key in keys]
    return [
        cast(Any, metric).beside(features[metric.extractor], clusters)
        if spec(metric.name).of_teacher and metric.extractor in features
        else metric
        for metric in metrics
    ]


@dataclass(frozen=True)
class MeasuredContestant:
    """One contestant with the features of its N images.

    contestant: its metrics are filled in by `score`.  features: [N, D] by extractor name.
    prompts: N texts the images are scored against.  clusters: N prompt ids (seeds share one).
    is_rewarded: its weights' card names rewards.
    """

    contestant: Contestant
    features: Mapping[str, Features]
    prompts: Sequence[str]
    clusters: Sequence[int]
    is_rewarded: bool = False


def score(entry: MeasuredContestant, metrics: Sequence[Metric]) -> Scored:
    """Every metric whose features are there; one that raises, or is not finite, is left out and
    named."""
    results: dict[str, Result] = {}
    failed = []
    for metric in metrics:
        if metric.extractor in entry.features:
            try:
                results[metric.name] = _evaluated(metric, entry)
            except Exception as error:  # any error: the other metrics go on
                why = f"{type(error).__name__}: {brief(error)}"
                failed.append(f"{entry.contestant.name}: {metric.name}: {why}")
    method = entry.contestant.method
    method = rewarded(method) if entry.is_rewarded else method
    values = {m.name: _value(m, results[m.name], method) for m in metrics if m.name in results}
    return Scored(replace(entry.contestant, metrics=values), results, failed)


def joined(one: Scored, other: Scored) -> Scored:
    """A contestant with the metrics of both."""
    metrics = {**one.contestant.metrics, **other.contestant.metrics}
    return Scored(
        replace(one.contestant, metrics=metrics),
        {**one.results, **other.results},
        [*one.failed, *other.failed],
    )


def _evaluated(metric: Metric, entry: MeasuredContestant) -> Result:
    found = metric.evaluate(entry.features[metric.extractor], entry.prompts, entry.clusters)
    if not np.isfinite([found.value, found.low, found.high]).all():
        raise ValueError("is not finite")
    return found


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
        prompts=len(result.prompts),
        error=result.error,
        kind=result.kind,
        at_infinity=result.at_infinity,
    )
