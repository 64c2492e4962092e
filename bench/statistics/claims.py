"""Claims about methods, as a suite states them -> verdicts, from the scores of a run.

`a` and `b` name methods; every contestant of that method at the step count is one training of it.
Without `steps` a claim is made at each step count that both have.

    better       the difference is not 0 and points the right way (two-sided)
    not_worse    a loss of the margin is ruled out (one-sided)
    equivalent   a difference of the margin is ruled out, either way (two one-sided tests)

    holds                   the claim's own test
    the opposite is shown   of "better": worse; of "not_worse": worse by more than the margin; of
                            "equivalent": apart by more than the margin
    equivalent              of "better", where neither is shown: within the margin, either way
    not shown               none of these; how many trainings would decide is said

Each of the three kinds of tests is adjusted over all claims of the run that can be decided (Holm),
so the chance of any false verdict of a kind is below 5 %. A claim about a method needs three
trainings of it. With fewer the verdict is "undecided" and the figures speak of these weights; only
what is not trained for the comparison (the teacher) may stand as one.

A claim `about: weights` is about one contestant of either side as it is, such as the same weights
in another precision or with a LoRA on top: it is decided over prompts alone, by a paired t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from bench.results.summary import LEAST_SEEDS, Claim
from bench.statistics import margins
from bench.statistics.claim_tests import (
    Tested,
    needed_words,
    prompts_words,
    too_few,
    verdict,
    why,
)
from bench.statistics.comparisons import Scored
from bench.statistics.intervals import holm
from bench.statistics.margins import Margin
from bench.statistics.method_difference import hierarchical_bootstrap, method_difference
from bench.statistics.result import UNTESTED, by_training
from hypersd.validation import Count, Text

WORDS = {"better": "is better than", "not_worse": "is not worse than",
         "equivalent": "is equivalent to"}  # fmt: skip
FIXED = ("teacher", "real")  # one of a kind: not a draw from many trainings


@dataclass(frozen=True)
class Stated:
    """A claim as the suite makes it: a `relation` b on a metric, at `steps` or at all.

    A suite writes it {a: ..., is: RELATION, than: ..., metric: ..., steps: ..., about: weights}.
    """

    a: Text
    relation: Annotated[Literal["better", "not_worse", "equivalent"], Field(alias="is")]
    b: Annotated[Text, Field(alias="than")]
    metric: Text
    steps: Count | None = None
    about: Literal["methods", "weights"] = "methods"


def claim_verdicts(
    stated: Sequence[Stated],
    scored: Sequence[Scored],
    sizes: Mapping[str, Margin] | None = None,
    further: Sequence[Scored] = (),
) -> list[Claim]:
    """Every claim with its verdict and figures.

    further: trainings beside those of the run, for claims about methods.
    Holm over the claims that can be decided; claims with too few trainings, whose figures are about
    these weights alone, are adjusted apart, over all that could be tested.
    """
    every_training = [*scored, *further]
    tested = [
        _tested(claim, steps, scored if claim.about == "weights" else every_training, sizes)
        for claim in stated
        for steps in _step_counts(claim, every_training)
    ]
    made = [one.claim for one in tested]
    every = [i for i, one in enumerate(tested) if one.difference is not None]
    decidable = [i for i in every if made[i].is_decidable]
    for family in (every, decidable):
        adjusted = _adjusted([tested[i].p_values() for i in family])
        for i, p in zip(family, adjusted, strict=True):
            made[i] = _decided(tested[i], p, len(decidable))
    return made


def waiting(stated: Sequence[Stated]) -> list[Claim]:
    """Every claim of an unfinished run: undecided, without figures."""
    why = "waits for the rows that are still to be drawn: claims are judged together"
    return [replace(_stated(claim, claim.steps), why=why) for claim in stated]


def _adjusted(p_values: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """The p values of every claim by kind, those of one kind adjusted together."""
    found: list[dict[str, float]] = [{} for _ in p_values]
    for kind in ("claim", "opposite", "equivalent"):
        having = [i for i, p in enumerate(p_values) if kind in p]
        for i, p in zip(having, holm([p_values[i][kind] for i in having]), strict=True):
            found[i][kind] = float(p)
    return found


def _step_counts(claim: Stated, scored: Sequence[Scored]) -> list[int | None]:
    """The step counts that both sides have; [None] without any, so that the claim is still
    reported."""
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


def _at(steps: int | None) -> str:
    return f" at {steps} step{'s' * (steps != 1)}" if steps is not None else ""


def _stated(claim: Stated, steps: int | None) -> Claim:
    """A claim in words, without a figure."""
    return Claim(
        text=f"{claim.a} {WORDS[claim.relation]} {claim.b} on {claim.metric}{_at(steps)}",
        verdict="undecided",
        why="",
        training_seeds=0,
        a=claim.a,
        b=claim.b,
        metric=claim.metric,
        steps=steps,
        relation=claim.relation,
        about=claim.about,
    )


def _tested(
    claim: Stated, steps: int | None, scored: Sequence[Scored], sizes: Mapping[str, Margin] | None
) -> Tested:
    a, b = (_members(name, steps, claim.metric, scored) for name in (claim.a, claim.b))
    at = _at(steps)
    made = replace(_stated(claim, steps), training_seeds=min(len(a), len(b)))
    for name, members in ((claim.a, a), (claim.b, b)):
        if not members:
            return Tested(replace(made, why=f"{name}{at} was not scored on {claim.metric}"))
        if claim.about == "weights" and len(members) > 1:
            return Tested(replace(made, why=f"{name}{at} is several contestants, and the claim "
                                            "about weights of one"))  # fmt: skip
    results = [m.results[claim.metric] for m in (*a, *b)]
    if any(not np.array_equal(r.prompts, results[0].prompts) for r in results):
        return Tested(replace(made, why="the contestants were scored on other prompts"))
    if any(r.by_prompt is None for r in results):
        return Tested(replace(made, why=f"{claim.metric} cannot be tested: {UNTESTED}"))
    x, y = by_training(results[: len(a)]), by_training(results[len(a) :])
    d, bootstrap = method_difference(x, y), hierarchical_bootstrap(x, y)
    margin = margins.of(claim.metric, sizes)
    size = float(np.mean([margins.of_result(margin, result) for result in results[len(a) :]]))
    higher = a[0].contestant.metrics[claim.metric].higher_is_better
    seeds = [n for n, name in zip(d.seeds, (claim.a, claim.b), strict=True) if name not in FIXED]
    made = replace(
        made,
        training_seeds=min(seeds, default=LEAST_SEEDS),
        delta=d.delta,
        low=d.low,
        high=d.high,
        margin=size,
        bootstrap_low=bootstrap[0],
        bootstrap_high=bootstrap[1],
    )
    tested = Tested(made, d, size, higher)
    return replace(tested, claim=replace(made, p=tested.p_values()["claim"]))


def _decided(tested: Tested, adjusted: Mapping[str, float], tests: int) -> Claim:
    """A claim with its verdict. tests: claims that are adjusted together."""
    claim = replace(
        tested.claim,
        p_adjusted=adjusted["claim"],
        p_opposite_adjusted=adjusted["opposite"],
        p_equivalent_adjusted=adjusted.get("equivalent"),
    )
    if not claim.is_decidable:
        return replace(claim, why=too_few(claim.training_seeds))
    found = verdict(adjusted)
    words = why(tested, adjusted, found, tests)
    if found != "not shown":
        return replace(claim, verdict=found, why=words)
    if claim.about == "weights":
        return replace(claim, verdict=found, why=f"{words}; {prompts_words(tested, tests)}")
    alone, of_all = tested.needed(1), tested.needed(tests)
    return replace(
        claim,
        verdict=found,
        why=f"{words}; {needed_words(tested, alone, of_all, tests)}",
        trainings_needed=alone,
        trainings_needed_adjusted=of_all,
    )
