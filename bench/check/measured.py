"""What a check measures: every contestant that run and baseline have, on every metric, not decided.

There are two questions. *These weights*: are they worse than those of the baseline, over new
prompts? *This training*: is what makes them worse, over new prompts and new training seeds? Two
trainings that differ in their seed alone are different weights, and the first question rightly
finds that. Asked by default is what changed: weights that a training made again are a training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bench.check import protocol
from bench.results.entries import Arrays
from bench.results.run_folder import RunFolder
from bench.results.summary import Contestant
from bench.statistics import differences, spread
from bench.statistics import margins as margin_sizes
from bench.statistics.differences import Difference
from bench.statistics.margins import Margin
from bench.statistics.method_difference import MethodDifference, method_difference, reach
from bench.statistics.result import Array, Ids, Result, by_training, results_of

Gate = Literal["weights", "training"]
BASELINE = "baseline.json"  # of a baseline: what it was made of
SAME = 0.02  # share of the features' spread by which rounding may move a picture's features
UNKNOWN = (
    "another training, and how far trainings differ is not known: have several on either side "
    "(contestants of one method), or judge these weights alone with check=weights"
)


@dataclass(frozen=True, eq=False)
class Measured:
    """A contestant on one metric.

    after, before: itself, in the run and in the baseline.  same: the pictures are.  margin: the
    smallest loss that matters.  difference: a test's, over prompts, or over trainings and prompts;
    refusal: why there is none.
    """

    contestant: str
    metric: str
    after: Result
    before: Result
    higher: bool
    same: bool
    margin: float
    gate: Gate
    difference: Difference | MethodDifference | None = None
    refusal: str | None = None

    def losses(self) -> dict[int, float]:
        """How much worse each prompt got."""
        ids, x, y = _by_prompt(self.after, self.before)
        worse = y - x if self.higher else x - y
        return {int(i): float(v) for i, v in zip(ids, worse, strict=True)}


def measured(
    run: RunFolder, base: RunFolder, sizes: Mapping[str, Margin], gate: Gate | None = None
) -> list[Measured]:
    """Every contestant that both have, on every metric; the run's protocol is the baseline's.

    sizes: the suite's margins.  gate: the question; None: by what changed.  Raises UsageError
    where a folder lacks scores.
    """
    places = protocol.aligned(run, base)
    there = {c.name for c in run.summary.contestants}
    spreads = _brought(base)
    return [
        row
        for contestant in base.summary.contestants
        if contestant.name in there
        for row in _rows(_Sides(run, base, contestant.name, places), sizes, gate, spreads)
    ]


@dataclass(frozen=True)
class _Sides:
    """A contestant of run and baseline. places: prompt index of the run -> of the baseline."""

    run: RunFolder
    base: RunFolder
    name: str
    places: Mapping[int, int]

    @property
    def now(self) -> Contestant:
        return self.run.summary.contestant(self.name)

    @property
    def then(self) -> Contestant:
        return self.base.summary.contestant(self.name)

    def trainings(self) -> tuple[list[dict[str, Result]], list[dict[str, Result]]]:
        """Results of all trainings of its method at its steps, of either side."""
        now = [
            renumbered(results_of(self.run, name), self.places)
            for name in _trainings(self.run, self.now)
        ]
        return now, [results_of(self.base, name) for name in _trainings(self.base, self.then)]


def _rows(
    sides: _Sides, sizes: Mapping[str, Margin], chosen: Gate | None, spreads: Any
) -> list[Measured]:
    run, base, name = sides.run, sides.base, sides.name
    after, before = renumbered(results_of(run, name), sides.places), results_of(base, name)
    same = same_pictures(run.features(name), base.features(name), sides.places)
    gate = _question(sides, chosen)
    trainings = sides.trainings() if gate == "training" else ([], [])
    found = []
    for metric in before:
        row = Measured(
            name, metric, after[metric], before[metric],
            sides.now.metrics[metric].higher_is_better, same,
            margin_sizes.of_result(margin_sizes.of(metric, sizes), before[metric]), gate,
            refusal=differences.refusal(after[metric], before[metric]),
        )  # fmt: skip
        if row.refusal is None and gate == "weights":
            row = replace(row, difference=differences.difference(after[metric], before[metric]))
        elif row.refusal is None:
            x, y = ([one[metric] for one in side if metric in one] for side in trainings)
            known = spread.read(spreads, sides.then.steps, metric)
            row = replace(row, difference=of_trainings(x, y, known))
        found.append(row)
    return found


def _question(sides: _Sides, chosen: Gate | None) -> Gate:
    """The question for a contestant: its weights if no training made them; else the chosen one, or
    the training if its weights changed."""
    if sides.now.training is None or sides.then.training is None:
        return "weights"
    is_other = _weights(sides.run, sides.name) != _weights(sides.base, sides.name)
    return chosen or ("training" if is_other else "weights")


def _weights(folder: RunFolder, name: str) -> Any:
    parts = folder.about.get("parts", {}).get(name)
    return parts.get("weights") if isinstance(parts, Mapping) else parts


def _trainings(folder: RunFolder, like: Contestant) -> list[str]:
    """Contestants that are trainings of a contestant's method, itself included."""
    found = {
        c.identity: c.name
        for c in folder.summary.contestants
        if c.method == like.method and c.steps == like.steps
    }
    return list({**found, like.identity: like.name}.values())


def _brought(base: RunFolder) -> Any:
    """The spread of trainings that a baseline brings; nothing of a plain run."""
    try:
        return json.loads((base.path / BASELINE).read_text(encoding="utf-8")).get("trainings")
    except (OSError, ValueError, AttributeError):
        return None


def of_trainings(
    after: Sequence[Result], before: Sequence[Result], known: spread.Spread
) -> MethodDifference | None:
    """after - before over new trainings and new prompts; None where nothing says how far trainings
    differ. known: from elsewhere; what either side says is added to it."""
    x, y = by_training(after), by_training(before)
    sides = (spread.of_values(side.mean(axis=1)) for side in (x, y))
    one = spread.pooled([known, *sides])
    if one is None:
        return None
    found = method_difference(x, y)
    trainings = (one.variance * (1 / len(x) + 1 / len(y)), one.freedom)
    far = reach(0.025, trainings, found.prompts)
    return replace(
        found, low=found.delta - far, high=found.delta + far, trainings=trainings,
        one_training=(one.variance, one.variance),
    )  # fmt: skip


def _by_prompt(after: Result, before: Result) -> tuple[Ids, Array, Array]:
    scores = differences.shared(after, before)
    if scores is not None:
        return scores
    assert after.influence is not None
    assert before.influence is not None
    return after.prompts, after.influence, before.influence


def renumbered(results: Mapping[str, Result], places: Mapping[int, int]) -> dict[str, Result]:
    """Results with the prompt ids of another folder, ascending again."""
    found = {}
    for metric, result in results.items():
        ids = np.array([places[int(index)] for index in result.prompts], np.int64)
        order = np.argsort(ids)
        scores, influence = (
            None if values is None else values[order]
            for values in (result.per_prompt, result.influence)
        )
        found[metric] = replace(result, prompts=ids[order], per_prompt=scores, influence=influence)
    return found


def same_pictures(run: Arrays, base: Arrays, places: Mapping[int, int]) -> bool:
    """Whether every picture's features moved by less than 2 % of their spread, as by rounding.

    run, base: features by extractor, `index` and `seed`.  places: prompt index of run -> of base.
    """
    extractors = (run.keys() & base.keys()) - {"index", "seed"}
    if not extractors or len(run["index"]) != len(base["index"]):
        return False
    mine = {(places.get(int(i), -1), int(s)): k for k, (i, s) in _numbered(run)}
    theirs = [mine.get((int(i), int(s)), -1) for _, (i, s) in _numbered(base)]
    if -1 in theirs:
        return False
    for name in extractors:
        x, y = np.asarray(run[name], np.float64)[theirs], np.asarray(base[name], np.float64)
        if x.shape != y.shape:
            return False
        far = np.sqrt(((y - y.mean(axis=0)) ** 2).sum(axis=1).mean())
        if not (np.linalg.norm(x - y, axis=1) <= SAME * far).all():
            return False
    return True


def _numbered(arrays: Arrays) -> list[tuple[int, tuple[int, int]]]:
    return list(enumerate(zip(arrays["index"], arrays["seed"], strict=True)))
