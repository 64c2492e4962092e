"""Do more steps ever make a contestant worse? Each at a number of steps and at twice as many.

Rows of one contestant at several numbers of steps are its family: `tcd-1step`, `tcd-2step`. Of
every doubling that the run has (1 -> 2, 2 -> 4, 4 -> 8, 25 -> 50), paired by prompt, with gain the
advantage of more steps and m the margin (of the value at fewer steps, where it is a share):

    not worse    gain > -m is shown, one-sided at 5 %
    worse        gain < -m is shown, at 5 % over all doublings of the run together (Holm)
    not shown    neither

"Never worse" asks for the first of every doubling, so each of them may be tested at 5 %: that all
of them err is no likelier than that one does (an intersection-union test, Berger 1982). Figures are
about these weights, one training each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bench.results.summary import StepResponse
from bench.statistics import differences, margins
from bench.statistics.comparisons import Scored
from bench.statistics.differences import Difference
from bench.statistics.intervals import holm
from bench.statistics.margins import Margin

METRICS = ("clip", "faithful", "fid")
ALPHA = 0.05


def step_responses(
    scored: Sequence[Scored], sizes: Mapping[str, Margin] | None = None
) -> list[StepResponse]:
    """Every doubling of every family on each of METRICS that both rows have; those that cannot be
    paired are left out. sizes: the suite's margins."""
    found, opposite = list[StepResponse](), list[float]()
    for fewer, more in doublings(scored):
        for metric in METRICS:
            if metric not in fewer.results or metric not in more.results:
                continue
            x, y = more.results[metric], fewer.results[metric]
            if differences.refusal(x, y) is not None:
                continue
            d, m = differences.difference(x, y), margins.of_result(margins.of(metric, sizes), y)
            higher = fewer.contestant.metrics[metric].higher_is_better
            not_worse, worse = _p(d, m, higher=higher)
            found.append(_response(fewer, more, metric, d, m, not_worse))
            opposite.append(worse)
    adjusted = holm(opposite)
    return [_judged(one, float(p)) for one, p in zip(found, adjusted, strict=True)]


def doublings(scored: Sequence[Scored]) -> Iterator[tuple[Scored, Scored]]:
    """The rows of each family at a number of steps and at twice as many."""
    by_family = {(family(s), s.contestant.steps): s for s in scored if s.contestant.steps}
    for (name, steps), fewer in by_family.items():
        more = by_family.get((name, 2 * (steps or 0)))
        if more is not None:
            yield fewer, more


def family(one: Scored) -> str:
    """A row's name without its steps."""
    return one.contestant.name.replace(f"-{one.contestant.steps}step", "", 1)


def _p(d: Difference, margin: float, *, higher: bool) -> tuple[float, float]:
    """One-sided p of "worse by the margin or more", and of "not worse by it"."""
    if higher:
        return d.p_above(-margin), d.p_below(-margin)
    return d.p_below(margin), d.p_above(margin)


def _response(
    fewer: Scored, more: Scored, metric: str, d: Difference, margin: float, p: float
) -> StepResponse:
    assert fewer.contestant.steps is not None
    return StepResponse(
        contestant=family(fewer), metric=metric, steps=fewer.contestant.steps,
        more=2 * fewer.contestant.steps, delta=d.delta, low=d.low, high=d.high, margin=margin,
        p_not_worse=p, prompts=d.prompts,
    )  # fmt: skip


def _judged(one: StepResponse, p_worse: float) -> StepResponse:
    if one.p_not_worse < ALPHA:
        return replace(one, p_worse_adjusted=p_worse, verdict="not worse")
    return replace(one, p_worse_adjusted=p_worse,
                   verdict="worse" if p_worse < ALPHA else "not shown")  # fmt: skip
