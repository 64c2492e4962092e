"""Run against baseline, per contestant and metric: pass, regress or inconclusive.

    regress        significantly worse (Holm over all rows of the check, p < 0.05) *and* by more
                   than the smallest difference that matters (the margin)
    pass           a loss as large as the margin is ruled out (one-sided test, 5 %); or the
                   pictures are the same but for rounding
    inconclusive   neither: `needed` prompts would decide with 80 % probability, were the true
                   difference what it looks like

Holm keeps the chance of any false alarm below 5 %. The tests for a pass need no adjustment: "no
metric got worse" holds only where each of them says so, so its error is at most that of one test
(Berger 1982, intersection-union).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from bench.check import protocol
from bench.results.entries import Arrays
from bench.results.run_folder import RunFolder
from bench.statistics import differences, power
from bench.statistics import margins as margin_sizes
from bench.statistics.differences import Difference
from bench.statistics.intervals import holm
from bench.statistics.margins import Margin
from bench.statistics.result import Array, Ids, Result, results_of

Outcome = Literal["pass", "regress", "inconclusive", "skipped"]
OUTCOMES: tuple[Outcome, ...] = ("pass", "regress", "inconclusive", "skipped")
ALPHA = 0.05
SAME = 0.02  # share of the features' spread by which rounding may move a picture's features


@dataclass(frozen=True)
class Verdict:
    """One row of a check.

    subject: a metric, or "seconds per image", "memory", "broken images", "contestant".  delta:
    after - before, with its 95 % interval; loss: the same, positive where it got worse.  margin:
    the smallest loss that matters.  p: two-sided, p_adjusted by Holm over the check; p_pass: of "a
    loss of the margin or more".  needed: prompts that would decide.  why: the verdict in words.
    losses: by prompt id of the baseline, how much worse each prompt got (a share of the whole for
    distances).
    """

    contestant: str
    subject: str
    outcome: Outcome
    why: str
    before: float | None = None
    after: float | None = None
    delta: float | None = None
    low: float | None = None
    high: float | None = None
    loss: float | None = None
    margin: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    p_pass: float | None = None
    prompts: int | None = None
    needed: int | None = None
    losses: Mapping[int, float] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class _Measured:
    """A contestant on one metric, measured but not decided."""

    contestant: str
    metric: str
    after: Result
    before: Result
    higher: bool
    same: bool
    margin: float

    @property
    def refusal(self) -> str | None:
        return differences.refusal(self.after, self.before)

    def difference(self) -> Difference:
        return differences.difference(self.after, self.before)

    def losses(self) -> dict[int, float]:
        """How much worse each prompt got."""
        ids, x, y = _by_prompt(self.after, self.before)
        worse = y - x if self.higher else x - y
        return {int(i): float(v) for i, v in zip(ids, worse, strict=True)}


def _by_prompt(after: Result, before: Result) -> tuple[Ids, Array, Array]:
    scores = differences.shared(after, before)
    if scores is not None:
        return scores
    assert after.influence is not None
    assert before.influence is not None
    return after.prompts, after.influence, before.influence


def metric_verdicts(run: RunFolder, base: RunFolder, sizes: Mapping[str, Margin]) -> list[Verdict]:
    """Every contestant that both have, on every metric; the run's protocol is the baseline's.

    sizes: the suite's margins; a percentage is of the baseline's value.  Raises UsageError where
    a folder lacks scores.
    """
    places = protocol.aligned(run, base)
    names = [c.name for c in base.summary.contestants]
    there = {c.name for c in run.summary.contestants}
    rows = [row for name in names if name in there for row in _rows(run, base, name, sizes, places)]
    tested = [row for row in rows if row.refusal is None]
    decided = dict(zip(tested, _tested(tested), strict=True))
    return [decided[row] if row in decided else _untested(row) for row in rows]


def _tested(rows: Sequence[_Measured]) -> list[Verdict]:
    """The verdicts on rows that can be tested, adjusted together."""
    found = [row.difference() for row in rows]
    flipped = differences.flip_p([(row.after, row.before) for row in rows])
    p = [d.normal_p if f is None else f for d, f in zip(found, flipped, strict=True)]
    adjusted = holm(p)
    return [
        _decided(row, d, p[i], float(adjusted[i]), len(rows))
        for i, (row, d) in enumerate(zip(rows, found, strict=True))
    ]


def _untested(row: _Measured) -> Verdict:
    """Of a metric that cannot be tested by prompt."""
    made = Verdict(
        row.contestant, row.metric, "skipped", f"cannot be tested: {row.refusal}", row.before.value,
        row.after.value, row.after.value - row.before.value,
    )  # fmt: skip
    if row.same:
        return replace(made, outcome="pass", why="the same pictures, but for rounding")
    return made


def _rows(
    run: RunFolder,
    base: RunFolder,
    name: str,
    sizes: Mapping[str, Margin],
    places: Mapping[int, int],
) -> list[_Measured]:
    after, before = renumbered(results_of(run, name), places), results_of(base, name)
    same = same_pictures(run.features(name), base.features(name), places)
    values = run.summary.contestant(name).metrics
    return [
        _Measured(
            name, metric, after[metric], before[metric], values[metric].higher_is_better, same,
            margin_sizes.size(margin_sizes.of(metric, sizes), before[metric].value),
        )
        for metric in before
    ]  # fmt: skip


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
        spread = np.sqrt(((y - y.mean(axis=0)) ** 2).sum(axis=1).mean())
        if not (np.linalg.norm(x - y, axis=1) <= SAME * spread).all():
            return False
    return True


def _numbered(arrays: Arrays) -> list[tuple[int, tuple[int, int]]]:
    return list(enumerate(zip(arrays["index"], arrays["seed"], strict=True)))


def _decided(row: _Measured, d: Difference, p: float, adjusted: float, tests: int) -> Verdict:
    sign = -1.0 if row.higher else 1.0
    loss, margin = sign * d.delta, row.margin
    p_pass = d.p_above(-margin) if row.higher else d.p_below(margin)
    made = Verdict(
        row.contestant, row.metric, "inconclusive", "", row.before.value, row.after.value,
        d.delta, d.low, d.high, loss, margin, p, adjusted, p_pass, d.prompts, None, row.losses(),
    )  # fmt: skip
    if loss > margin and adjusted < ALPHA:
        why = f"worse by {loss:.3g}, which is more than {margin:.3g} and no chance"
        return replace(made, outcome="regress", why=why)
    if p_pass < ALPHA and loss < margin:
        return replace(made, outcome="pass", why=_passed(loss, margin, adjusted))
    if row.same:
        return replace(made, outcome="pass", why="the same pictures, but for rounding")
    if loss > margin:
        needed = power.prompts_for(d.error, d.prompts, loss, tests=tests)
    else:
        needed = power.prompts_to_rule_out(d.error, d.prompts, margin - loss)
    needed = None if needed is None else max(needed, d.prompts + 1)
    return replace(made, needed=needed, why=_undecided(loss, margin, d.prompts, needed))


def _passed(loss: float, margin: float, adjusted: float) -> str:
    if loss == 0.0:
        return "no difference"
    if adjusted < ALPHA:
        way = "worse" if loss > 0 else "better"
        return f"{way} by {abs(loss):.3g}; a loss of {margin:.3g} is ruled out"
    return f"a loss of {margin:.3g} is ruled out"


def _undecided(loss: float, margin: float, prompts: int, needed: int | None) -> str:
    looks = f"looks {'worse' if loss > 0 else 'better'} by {abs(loss):.3g}, but {prompts:,} prompts"
    can = f"{looks} can neither rule out a loss of {margin:.3g} nor show one"
    if needed is None:
        return f"{can}; the loss is about as large as that, and no number of prompts would decide"
    return f"{can}; about {needed:,} would decide"
