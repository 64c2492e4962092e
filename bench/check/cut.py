"""A baseline cut to the prompts that a run has drawn so far.

Scores belong to single prompts, so they are cut; what belongs to all pictures (distances, recall)
is measured again from the baseline's features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bench.check.protocol import aligned
from bench.results.entries import Arrays
from bench.results.run_folder import RunFolder
from bench.results.summary import Contestant, MetricValue, Summary
from bench.statistics.result import Result, results_of, to_arrays

Measure = Callable[[str, Arrays, Sequence[int]], Result | None]
"""(metric, features by extractor [N, D], prompt of each [N]) -> its value; None of one that needs
more than the pictures' features."""


@dataclass(frozen=True, kw_only=True)
class CutBaseline(RunFolder):
    """whole: the baseline.  keep: indices of the prompts that are left.  names: contestants.
    measure: what belongs to all pictures."""

    whole: RunFolder
    keep: frozenset[int]
    names: frozenset[str]
    measure: Measure

    @cached_property
    def summary(self) -> Summary:
        """The baseline's summary, with metrics of the kept prompts."""
        found = self.whole.summary
        kept = [self._contestant(c) for c in found.contestants if c.name in self.names]
        return replace(found, protocol="", contestants=kept)

    @cached_property
    def texts(self) -> dict[int, str]:
        """Prompts by index."""
        return {i: text for i, text in self.whole.texts.items() if i in self.keep}

    def scores(self, name: str) -> Arrays:
        """As a run folder's."""
        return to_arrays(self._results[name])

    def features(self, name: str) -> Arrays:
        """As a run folder's."""
        arrays = self.whole.features(name)
        if not arrays:
            return {}
        rows = np.isin(np.asarray(arrays["index"]), list(self.keep))
        return {key: np.asarray(value)[rows] for key, value in arrays.items()}

    @cached_property
    def _results(self) -> dict[str, dict[str, Result]]:
        return {name: self._cut(name) for name in sorted(self.names)}

    def _cut(self, name: str) -> dict[str, Result]:
        features, found = self.features(name), {}
        for metric, result in results_of(self.whole, name).items():
            at = np.isin(result.prompts, list(self.keep))
            ids = result.prompts[at]
            anew = None
            if result.per_prompt is not None:
                scores = result.per_prompt[at]
                mean = float(scores.mean())
                anew = replace(result, value=mean, low=mean, high=mean, per_prompt=scores)
            elif features:
                anew = self.measure(metric, features, [int(i) for i in features["index"]])
            found[metric] = replace(anew or replace(result, influence=None), prompts=ids)
        return found

    def _contestant(self, contestant: Contestant) -> Contestant:
        results = self._results[contestant.name]
        return replace(contestant, metrics={
            name: _value(value, results[name]) for name, value in contestant.metrics.items()
        })  # fmt: skip


def _value(value: MetricValue, result: Result) -> MetricValue:
    error = result.error if result.by_prompt is not None else None
    return replace(value, value=result.value, low=result.low, high=result.high, n=result.n,
                   prompts=len(result.prompts), error=error,
                   at_infinity=result.at_infinity)  # fmt: skip


def cut(base: RunFolder, run: RunFolder, measure: Measure) -> CutBaseline:
    """The baseline on the prompts of a run, of the contestants that both have."""
    names = {c.name for c in run.summary.contestants} & {c.name for c in base.summary.contestants}
    keep = frozenset(aligned(run, base).values())
    return CutBaseline(path=base.path, kind=base.kind, whole=base, keep=keep,
                       names=frozenset(names), measure=measure)  # fmt: skip
