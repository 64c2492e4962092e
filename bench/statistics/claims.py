"""Claims about methods, as a suite states them -> verdicts, from the scores of a run.

`a` and `b` name methods; every contestant of that method at the step count is one training of it.
Without `steps` a claim is made at each step count that both have.

    better       the difference is not 0 and points the right way (two-sided)
    not_worse    a loss of the margin is ruled out (one-sided)
    equivalent   a difference of the margin is ruled out, either way (two one-sided tests)

p values of all claims of a run are adjusted together (Holm). A claim about a method needs three
trainings of it. With fewer the verdict is "undecided" and the figures speak of these weights; only
what is not trained for the comparison (the teacher) may stand as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from bench.results.summary import LEAST_SEEDS, Claim, Verdict
from bench.statistics import margins
from bench.statistics.comparisons import Scored
from bench.statistics.intervals import holm
from bench.statistics.margins import Margin
from bench.statistics.method_difference import (
    MethodDifference,
    hierarchical_bootstrap,
    method_difference,
)
from bench.statistics.result import UNTESTED, Array, Result
from hypersd.validation import Count, Text

WORDS = {"better": "is better than", "not_worse": "is not worse than",
         "equivalent": "is equivalent to"}  # fmt: skip
FIXED = ("teacher", "real")  # one of a kind: not a draw from many trainings
ALPHA = 0.05


@dataclass(frozen=True)
class Stated:
    """A claim as the suite makes it: a `relation` b on a metric, at `steps` or at all.

    A suite writes it {a: ..., is: RELATION, than: ..., metric: ..., steps: ...}.
    """

    a: Text
    relation: Annotated[Literal["better", "not_worse", "equivalent"], Field(alias="is")]
    b: Annotated[Text, Field(alias="than")]
    metric: Text
    steps: Count | None = None


def claim_verdicts(
    stated: Sequence[Stated], scored: Sequence[Scored], sizes: Mapping[str, Margin] | None = None
) -> list[Claim]:
    """Every claim with its verdict and figures.

    Holm over the claims that can be decided; those with too few trainings, whose figures speak of
    these weights alone, by themselves over all that could be tested.
    """
    tested = [
        _tested(claim, steps, scored, sizes)
        for claim in stated
        for steps in _step_counts(claim, scored)
    ]
    made = [one.claim for one in tested]
    every = [i for i, one in enumerate(tested) if one.difference is not None]
    decidable = [i for i in every if made[i].training_seeds >= LEAST_SEEDS]
    for family in (every, decidable):
        adjusted = holm([tested[i].claim.p or 0.0 for i in family])
        for i, p in zip(family, adjusted, strict=True):
            made[i] = _decided(tested[i], float(p))
    return made


def _step_counts(claim: Stated, scored: Sequence[Scored]) -> list[int | None]:
    """The step counts at which both sides are; one None, to be told of, where there is none."""
    if claim.steps is not None:
        return [claim.steps]
    sides = [
        {s.contestant.steps for s in scored if s.contestant.method == name}
        for name in (claim.a, claim.b)
        if name not in FIXED
    ]
    common: set[int | None] = reduce(set.intersection, sides) if sides else set()
    return [*sorted(step for step in common if step is not None)] or [None]


def _members(name: str, steps: int | None, metric: str, scored: Sequence[Scored]) -> list[Scored]:
    """The trainings of a method, one per identity; a fixed one stands at every step count."""
    found = {
        s.contestant.identity: s
        for s in scored
        if s.contestant.method == name and metric in s.results
        if name in FIXED or s.contestant.steps == steps
    }
    return list(found.values())


@dataclass(frozen=True)
class _Tested:
    """A claim with its figures, not yet decided; difference: None where it cannot be tested."""

    claim: Claim
    difference: MethodDifference | None = None
    margin: float = 0.0
    higher: bool = True

    @property
    def gains(self) -> tuple[float, float]:
        """The interval of a's advantage."""
        assert self.difference is not None
        low, high = self.difference.low, self.difference.high
        return (low, high) if self.higher else (-high, -low)


def _tested(
    claim: Stated, steps: int | None, scored: Sequence[Scored], sizes: Mapping[str, Margin] | None
) -> _Tested:
    a, b = (_members(name, steps, claim.metric, scored) for name in (claim.a, claim.b))
    at = f" at {steps} step{'s' * (steps != 1)}" if steps is not None else ""
    made = Claim(
        text=f"{claim.a} {WORDS[claim.relation]} {claim.b} on {claim.metric}{at}",
        verdict="undecided",
        why="",
        training_seeds=min(len(a), len(b)),
        a=claim.a,
        b=claim.b,
        metric=claim.metric,
        steps=steps,
        relation=claim.relation,
    )
    for name, members in ((claim.a, a), (claim.b, b)):
        if not members:
            return _Tested(replace(made, why=f"{name}{at} was not scored on {claim.metric}"))
    results = [m.results[claim.metric] for m in (*a, *b)]
    if any(not np.array_equal(r.prompts, results[0].prompts) for r in results):
        return _Tested(replace(made, why="the contestants were scored on other prompts"))
    if any(r.by_prompt is None for r in results):
        return _Tested(replace(made, why=f"{claim.metric} cannot be tested: {UNTESTED}"))
    x, y = _scores(results[: len(a)]), _scores(results[len(a) :])
    d, bootstrap = method_difference(x, y), hierarchical_bootstrap(x, y)
    size = margins.size(margins.of(claim.metric, sizes), float(y.mean()))
    higher = a[0].contestant.metrics[claim.metric].higher_is_better
    seeds = [n for n, name in zip(d.seeds, (claim.a, claim.b), strict=True) if name not in FIXED]
    made = replace(
        made,
        training_seeds=min(seeds, default=LEAST_SEEDS),
        delta=d.delta,
        low=d.low,
        high=d.high,
        p=_p(claim.relation, d, size, higher),
        margin=size,
        bootstrap_low=bootstrap[0],
        bootstrap_high=bootstrap[1],
    )
    return _Tested(made, d, size, higher)


def _scores(results: Sequence[Result]) -> Array:
    """[S, G]: scores by training and prompt; a distance as its value plus influences."""
    lifts = [0.0 if r.per_prompt is not None else r.value for r in results]
    return np.stack([
        lift + r.by_prompt
        for lift, r in zip(lifts, results, strict=True)
        if r.by_prompt is not None
    ])  # fmt: skip


def _p(relation: str, d: MethodDifference, margin: float, higher: bool) -> float:
    """p of the claim: of "better" two-sided, of the others one-sided (the larger of two)."""
    if relation == "better":
        return min(1.0, 2 * (d.p_above(0.0) if higher else d.p_below(0.0)))
    not_worse = d.p_above(-margin) if higher else d.p_below(margin)
    if relation == "not_worse":
        return not_worse
    return max(not_worse, d.p_below(margin) if higher else d.p_above(-margin))


def _decided(tested: _Tested, adjusted: float) -> Claim:
    """The verdict: holds, does not hold (the opposite is shown), or undecided."""
    claim, count = replace(tested.claim, p_adjusted=adjusted), tested.claim.training_seeds
    if count < LEAST_SEEDS:
        named = "one training" if count == 1 else f"{count} trainings"
        why = f"{named}; a claim about a method needs at least {LEAST_SEEDS} of either side"
        return replace(claim, why=why)
    verdict: Verdict = "undecided"
    if adjusted < ALPHA:
        verdict = "holds"
    elif _refuted(tested):
        verdict = "does not hold"
    return replace(claim, verdict=verdict, why=_why(tested, adjusted))


def _refuted(tested: _Tested) -> bool:
    """Whether the 95 % interval lies wholly where the claim is false."""
    low, high = tested.gains
    if tested.claim.relation == "better":
        return high < 0
    return high < -tested.margin or (tested.claim.relation == "equivalent" and low > tested.margin)


def _why(tested: _Tested, adjusted: float) -> str:
    d = tested.difference
    assert d is not None
    seeds = " and ".join(str(n) for n in d.seeds)
    against = "" if tested.claim.relation == "better" else f", margin {tested.margin:.3g}"
    return (
        f"difference {d.delta:.3g} [{d.low:.3g}, {d.high:.3g}]{against}, adjusted p "
        f"{adjusted:.2g}, over {seeds} trainings and the prompts"
    )
