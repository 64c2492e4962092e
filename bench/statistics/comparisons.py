"""Results of every contestant -> paired comparisons, adjusted together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from bench.results.summary import Comparison, Contestant, Equivalence, Family, Sensitivity
from bench.statistics import differences, families, power
from bench.statistics import margins as margin_sizes
from bench.statistics.differences import Difference
from bench.statistics.families import Primary
from bench.statistics.margins import Margin
from bench.statistics.result import Result


@dataclass(frozen=True)
class Scored:
    """A contestant with its metrics filled in, and the results that comparisons are made of.

    failed: metrics that are left out, and why.
    """

    contestant: Contestant
    results: Mapping[str, Result] = field(default_factory=dict)
    failed: Sequence[str] = ()


def pairs(contestants: Iterable[Contestant]) -> list[tuple[str, str]]:
    """Who is compared: all of one step count with each other, then each with the teacher.

    Anchors give the scale and are not compared.
    """
    rivals = [c for c in contestants if not c.is_anchor]
    students = [c for c in rivals if c.method != "teacher"]
    same = [(a.name, b.name) for a, b in combinations(students, 2) if a.steps == b.steps]
    teachers = [c for c in rivals if c.method == "teacher"]
    return same + [(s.name, t.name) for s in students for t in teachers]


def compare(
    scored: Sequence[Scored],
    margins: Mapping[str, Margin] | None = None,
    primary: Sequence[Primary] = (),
    *,
    seed: int = 0,
    among: Sequence[tuple[str, str]] | None = None,
) -> list[Comparison]:
    """Every pair of `pairs` on every metric both have, paired by prompt, adjusted by family.

    Scores: p of the mean difference by sign flips, on the prompts both have.  Frechet distance: p
    from the difference of the influences.  Intervals: see `bench.statistics.differences`.  Against
    a margin (the suite's, else the default; a percentage is of b's value, of a distance at
    infinity): two one-sided tests,
    adjusted among themselves.  primary: what the suite asks; none: everything.  among: other pairs
    than those of `pairs`.  Pairs that `refused` names are left out.
    """
    rows = [pair for pair in _pairs(scored, among) if pair.refusal is None]
    found = [differences.difference(*pair.results, seed=seed) for pair in rows]
    flipped = differences.flip_p([pair.results for pair in rows], seed=seed)
    p = [d.normal_p if f is None else f for d, f in zip(found, flipped, strict=True)]
    names = [families.family(primary, r.a.contestant, r.b.contestant, r.metric) for r in rows]
    adjusted = families.adjusted(p, names)
    sizes = [_margin(pair, margins) for pair in rows]
    tests = equivalences(
        [(d, size, pair.higher) for d, size, pair in zip(found, sizes, rows, strict=True)], names
    )
    return [
        _comparison(
            pair, d, p[i], float(adjusted[i]), sizes[i], tests[i], names[i], names.count(names[i])
        )
        for i, (pair, d) in enumerate(zip(rows, found, strict=True))
    ]


def refused(scored: Sequence[Scored]) -> list[str]:
    """The pairs that cannot be compared on a metric both have, and why: for the ledger."""
    return [
        f"{pair.a.contestant.name} and {pair.b.contestant.name} on {pair.metric}: {pair.refusal}"
        for pair in _pairs(scored)
        if pair.refusal is not None
    ]


def sensitivity(comparisons: Sequence[Comparison]) -> dict[str, Sensitivity]:
    """The differences that each metric's comparisons could have found at their number of prompts,
    alone and as one of those adjusted together; of primary ones, if the metric has any."""
    found = {}
    for metric in dict.fromkeys(row.metric for row in comparisons):
        of_metric = [row for row in comparisons if row.metric == metric]
        family = "primary" if any(r.family == "primary" for r in of_metric) else "exploratory"
        rows = [(row.detectable, row) for row in of_metric
                if row.family == family and row.detectable is not None]  # fmt: skip
        if rows:
            rows.sort(key=lambda pair: pair[0])
            detectable, typical = rows[(len(rows) - 1) // 2]
            found[metric] = Sensitivity(
                prompts=min(row.prompts for _, row in rows),
                detectable=detectable,
                worst=rows[-1][0],
                margin=None if typical.equivalence is None else typical.equivalence.margin,
                prompts_needed=typical.prompts_needed,
                detectable_adjusted=typical.detectable_adjusted,
                prompts_needed_adjusted=typical.prompts_needed_adjusted,
                tests=sum(row.family == family for row in comparisons),
            )
    return found


@dataclass(frozen=True)
class _Pair:
    """Two contestants on one metric, not yet compared."""

    a: Scored
    b: Scored
    metric: str

    @property
    def results(self) -> tuple[Result, Result]:
        return self.a.results[self.metric], self.b.results[self.metric]

    @property
    def refusal(self) -> str | None:
        return differences.refusal(*self.results)

    @property
    def higher(self) -> bool:
        return self.a.contestant.metrics[self.metric].higher_is_better


def _pairs(scored: Sequence[Scored], among: Sequence[tuple[str, str]] | None = None) -> list[_Pair]:
    by_name = {s.contestant.name: s for s in scored}
    return [
        _Pair(by_name[a], by_name[b], name)
        for a, b in (pairs(s.contestant for s in scored) if among is None else among)
        for name in by_name[a].results
        if name in by_name[b].results
    ]


def _margin(pair: _Pair, margins: Mapping[str, Margin] | None) -> float:
    return margin_sizes.of_result(margin_sizes.of(pair.metric, margins), pair.results[1])


def equivalences(
    tests: Sequence[tuple[Difference, float, bool]], names: Sequence[Family]
) -> list[Equivalence | None]:
    """Two one-sided tests of each (difference, margin, higher is better), adjusted within families.

    None where the margin is 0 (a percentage of nothing).
    """
    kept = [i for i, (_, margin, _) in enumerate(tests) if margin > 0]
    p = []
    for d, margin, higher in (tests[i] for i in kept):
        not_below, not_above = d.p_above(-margin), d.p_below(margin)
        p += [not_below, not_above] if higher else [not_above, not_below]
    adjusted = families.adjusted(p, [names[i] for i in kept for _ in range(2)]).tolist()
    found: list[Equivalence | None] = [None] * len(tests)
    for k, i in enumerate(kept):
        (a, b), (a_adjusted, b_adjusted) = p[2 * k : 2 * k + 2], adjusted[2 * k : 2 * k + 2]
        found[i] = Equivalence(
            tests[i][1], a, b, max(a, b), a_adjusted, b_adjusted, max(a_adjusted, b_adjusted)
        )
    return found


def _comparison(
    pair: _Pair,
    d: Difference,
    p: float,
    adjusted: float,
    margin: float,
    equivalence: Equivalence | None,
    family: Family,
    tests: int,
) -> Comparison:
    a, b = pair.results
    scores, won = differences.shared(a, b), None
    if scores is not None:
        won = differences.wins(scores[1], scores[2], higher_is_better=pair.higher)
    return Comparison(
        a=pair.a.contestant.name,
        b=pair.b.contestant.name,
        metric=pair.metric,
        delta=d.delta,
        low=d.low,
        high=d.high,
        p=p,
        p_adjusted=adjusted,
        win_rate=None if won is None else won.rate,
        n=a.n if won is None else d.prompts,
        win_low=None if won is None else won.low,
        win_high=None if won is None else won.high,
        wins=None if won is None else won.wins,
        ties=None if won is None else won.ties,
        losses=None if won is None else won.losses,
        prompts=d.prompts,
        error=d.error,
        detectable=power.detectable(d.error),
        detectable_adjusted=power.detectable(d.error, tests=tests),
        equivalence=equivalence,
        prompts_needed=power.prompts_for(d.error, d.prompts, margin),
        family=family,
        prompts_needed_adjusted=power.prompts_for(d.error, d.prompts, margin, tests=tests),
    )
