"""Run against baseline, per contestant and metric: pass, regress or inconclusive.

    regress        significantly worse (Holm over all rows of the check, p < 0.05) *and* by more
                   than the smallest difference that matters (the margin)
    pass           a loss as large as the margin is ruled out (one-sided test, 5 %); or the
                   pictures are the same but for rounding
    inconclusive   neither: `needed` prompts (or `trainings_needed` of either side, where trainings
                   are compared) would decide with 80 % probability, were the true difference what
                   it looks like

Holm keeps the chance of any false alarm below 5 %. The tests for a pass need no adjustment: "no
metric got worse" holds only where each of them says so, so its error is at most that of one test
(Berger 1982, intersection-union).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.check.measured import UNKNOWN, Gate, Measured, measured
from bench.results.run_folder import RunFolder
from bench.statistics import differences, power
from bench.statistics.differences import Difference
from bench.statistics.intervals import holm
from bench.statistics.margins import Margin
from bench.statistics.method_difference import MethodDifference
from bench.statistics.trainings_needed import trainings_needed

Outcome = Literal["pass", "regress", "inconclusive", "skipped"]
OUTCOMES: tuple[Outcome, ...] = ("pass", "regress", "inconclusive", "skipped")
ALPHA = 0.05


@dataclass(frozen=True)
class Verdict:
    """One row of a check.

    subject: a metric, or "seconds per image", "memory", "broken images", "contestant".  delta:
    after - before, with its 95 % interval; loss: the same, positive where it got worse.  margin:
    the smallest loss that matters.  p: two-sided, p_adjusted by Holm over the check; p_pass: of "a
    loss of the margin or more".  needed: prompts that would decide.  why: the verdict in words.
    losses: by prompt id of the baseline, how much worse each prompt got (a share of the whole for
    distances).  gate: whether the "weights" are judged, over new prompts, or the "training", over
    new trainings too; trainings: how many of run and baseline it rests on, trainings_needed: of
    either side, that would decide.
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
    gate: Gate = "weights"
    trainings: tuple[int, int] | None = None
    trainings_needed: int | None = None


def metric_verdicts(
    run: RunFolder, base: RunFolder, sizes: Mapping[str, Margin], gate: Gate | None = None
) -> list[Verdict]:
    """Every contestant that both have, on every metric; the run's protocol is the baseline's.

    sizes: the suite's margins; a percentage is of the baseline's value (of a distance, of that at
    infinity).  gate: what is judged; None: by what changed.  Raises UsageError where a folder lacks
    scores.
    """
    rows = measured(run, base, sizes, gate)
    tested = [row for row in rows if row.difference is not None]
    decided = dict(zip(tested, _tested(tested), strict=True))
    return [decided[row] if row in decided else _untested(row) for row in rows]


def _tested(rows: Sequence[Measured]) -> list[Verdict]:
    """The verdicts on rows that can be tested, adjusted together."""
    flipped = differences.flip_p([(row.after, row.before) for row in rows])
    p = [two_sided(row.difference, f) for row, f in zip(rows, flipped, strict=True)]
    adjusted = holm(p)
    return [
        replace(decided(row, p[i], float(adjusted[i]), len(rows)), losses=row.losses())
        for i, row in enumerate(rows)
    ]


def two_sided(d: Difference | MethodDifference | None, flipped: float | None) -> float:
    """p of "no difference": of weights by sign flips (normal for distances), of trainings by t."""
    if isinstance(d, MethodDifference):
        return min(1.0, 2 * min(d.p_above(0.0), d.p_below(0.0)))
    assert d is not None
    return d.normal_p if flipped is None else flipped


def _untested(row: Measured) -> Verdict:
    """Of a metric that cannot be tested by prompt, or a training of which too little is known."""
    made = Verdict(
        row.contestant, row.metric, "inconclusive", UNKNOWN, row.before.value, row.after.value,
        row.after.value - row.before.value, margin=row.margin, gate=row.gate,
    )  # fmt: skip
    if row.same:
        return replace(made, outcome="pass", why="the same pictures, but for rounding")
    if row.refusal is not None:
        return replace(made, outcome="skipped", why=f"cannot be tested: {row.refusal}")
    return made


def decided(row: Measured, p: float, adjusted: float, tests: int) -> Verdict:
    """The verdict on a row. p: two-sided; adjusted: over so many tests."""
    d, margin = row.difference, row.margin
    assert d is not None
    loss = -d.delta if row.higher else d.delta
    p_pass = d.p_above(-margin) if row.higher else d.p_below(margin)
    of_training = isinstance(d, MethodDifference)
    made = Verdict(
        row.contestant, row.metric, "inconclusive", "", row.before.value, row.after.value,
        d.delta, d.low, d.high, loss, margin, p, adjusted, p_pass, len(row.before.prompts),
        gate=row.gate, trainings=d.seeds if isinstance(d, MethodDifference) else None,
    )  # fmt: skip
    if loss > margin and adjusted < ALPHA:
        chance = "chance, of prompts or of the training's seed" if of_training else "chance"
        why = f"worse by {loss:.3g}, which is more than {margin:.3g} and no {chance}"
        return replace(made, outcome="regress", why=why)
    if p_pass < ALPHA and loss < margin:
        return replace(made, outcome="pass", why=passed_words(loss, margin, adjusted < ALPHA))
    if row.same:
        return replace(made, outcome="pass", why="the same pictures, but for rounding")
    if isinstance(d, MethodDifference):
        return _open_training(made, d, tests)
    return undecided(made, d, tests)


def undecided(made: Verdict, d: Difference, tests: int) -> Verdict:
    """The verdict on weights of which too few prompts were drawn, as one of so many tests."""
    loss, margin = made.loss or 0.0, made.margin or 0.0
    if loss > margin:
        needed = power.prompts_for(d.error, d.prompts, loss, tests=tests)
    else:
        needed = power.prompts_to_rule_out(d.error, d.prompts, margin - loss)
    needed = None if needed is None else max(needed, d.prompts + 1)
    with_what = f"{d.prompts:,} prompts"
    would = None if needed is None else f"about {needed:,} would decide"
    return replace(made, needed=needed, why=_undecided(loss, margin, with_what, would, "prompts"))


def _open_training(made: Verdict, d: MethodDifference, tests: int) -> Verdict:
    loss, margin = made.loss or 0.0, made.margin or 0.0
    distance, tail = (loss, ALPHA / (2 * tests)) if loss > margin else (margin - loss, ALPHA)
    needed = trainings_needed(d, [distance], tail)
    needed = None if needed is None else max(needed, min(d.seeds) + 1)
    seeds = " and ".join(f"{n}" for n in d.seeds)
    with_what = f"{seeds} trainings (run and baseline)"
    would = None if needed is None else f"about {needed:,} of either side would decide"
    why = _undecided(loss, margin, with_what, would, "trainings at these prompts")
    return replace(made, trainings_needed=needed, why=why)


def passed_words(loss: float, margin: float, shown: bool) -> str:
    """Why a row passed. shown: that there is a difference at all."""
    if loss == 0.0:
        return "no difference"
    if shown:
        way = "worse" if loss > 0 else "better"
        return f"{way} by {abs(loss):.3g}; a loss of {margin:.3g} is ruled out"
    return f"a loss of {margin:.3g} is ruled out"


def _undecided(loss: float, margin: float, with_what: str, would: str | None, of: str) -> str:
    """What was seen, and what is missing: a loss above the margin must be shown to be no chance,
    any other that it is not as large as the margin in truth."""
    lacks = "show that this is no chance" if loss > margin else f"rule out a loss of {margin:.3g}"
    said = f"{_seen(loss, margin)}; {with_what} do not {lacks}"
    if would is None:
        return f"{said}, and no number of {of} would: the loss is about as large as the margin"
    return f"{said}; {would}"


def _seen(loss: float, margin: float) -> str:
    """The measured difference in words; none where it would print as 0 beside the margin."""
    if abs(loss) < 0.005 * margin:
        return "no difference seen"
    return f"measured {'worse' if loss > 0 else 'better'} by {abs(loss):.3g}"
