"""What a run shows, in sentences that its tests support; the rest is said to be undecided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from bench.report.words import decimals, groups, listed, metric_words
from bench.results.summary import Comparison, Contestant, Family, Summary
from bench.statistics.printed import number

ALPHA = 0.05
ANY: tuple[Family, ...] = ("primary", "exploratory")
EXPLORATORY = "Exploratory: "


@dataclass(frozen=True)
class Findings:
    """Sentences about the contestants of one step count: one that leads, one per comparison."""

    heading: str
    lead: str
    sentences: list[str]


def findings(summary: Summary) -> list[Findings]:
    """For each step count: who is best on what, then every pair, then each against the teacher.
    What the suite does not ask for comes last and is marked."""
    made = []
    for heading, members in groups(summary):
        names = {c.name for c in members}
        rows = [r for r in summary.comparisons if r.a in names]
        lead = f"{_lead(summary, members)} {_against_teacher(summary, members, rows)}".strip()
        lead = f"{_so_far(summary, members)}{lead}"
        if heading not in ("Teacher", "Anchors") and rows:
            made.append(Findings(heading, lead, _sentences(summary, rows)))
    return made


def _so_far(summary: Summary, members: Sequence[Contestant]) -> str:
    """Who of a step count is still to come, before what is said of the others."""
    steps = {c.steps for c in members}
    lacking = [row.name for row in summary.to_come if row.steps in steps]
    return f"So far, without {listed(lacking)}: " if lacking else ""


def leader(
    summary: Summary,
    members: Sequence[Contestant],
    metric: str,
    families: Sequence[Family] = ("primary",),
) -> str | None:
    """The contestant shown to be better on `metric` than every other one of `members`, by
    comparisons of these families.

    None where there is no other, where some difference may be chance (adjusted p >= 0.05), and
    where it has more than enough.
    """
    rivals = [c for c in members if metric in c.metrics]
    if len(rivals) < 2:
        return None
    sign = 1 if rivals[0].metrics[metric].higher_is_better else -1
    best = max(rivals, key=lambda c: sign * c.metrics[metric].value)
    beaten = {
        loser
        for row in summary.comparisons
        if row.metric == metric and row.family in families and row.p_adjusted < ALPHA
        for winner, loser in [_order(row, sign)]
        if winner == best.name
    }
    if is_beyond(metric, best):
        return None
    return best.name if beaten >= {c.name for c in rivals if c is not best} else None


def is_beyond(metric: str, contestant: Contestant) -> bool:
    """Whether a contestant's value is one from where on more is not better."""
    enough = metric_words(metric).enough
    return enough is not None and contestant.metrics[metric].value > enough


def _order(row: Comparison, sign: int) -> tuple[str, str]:
    return (row.a, row.b) if sign * row.delta > 0 else (row.b, row.a)


def _lead(summary: Summary, members: Sequence[Contestant]) -> str:
    """Who is best on which metrics of one step count."""
    metrics = [m for m in summary.metric_names() if sum(m in c.metrics for c in members) > 1]
    if not metrics:
        return ""
    found = {m: leader(summary, members, m) for m in metrics}
    also = {m: leader(summary, members, m, ANY) for m, name in found.items() if name is None}
    parts = [f"{name} is best on {_titles(of)}" for name, of in _by_leader(found)]
    parts += [f"by exploratory comparisons {name} is best on {_titles(of)}"
              for name, of in _by_leader(also)]  # fmt: skip
    tested = {row.metric for row in summary.comparisons if row.a in {c.name for c in members}}
    none, untested = _split([m for m, name in also.items() if name is None], tested)
    if none:
        n = max(c.n for c in members)
        parts.append(f"no single best could be shown at N = {n:,} on {_titles(none)}")
    if untested:
        parts.append(f"no test by prompt on {_titles(untested)}")
    text = "; ".join(parts) + "."
    named = parts[0].startswith(tuple(name for name in found.values() if name))
    return text if named else text[0].upper() + text[1:]


def _by_leader(found: Mapping[str, str | None]) -> list[tuple[str, list[str]]]:
    """(contestant, the metrics that it leads), from leaders by metric."""
    names = dict.fromkeys(name for name in found.values() if name is not None)
    return [(name, [m for m, one in found.items() if one == name]) for name in names]


def _split(metrics: Sequence[str], tested: Set[str]) -> tuple[list[str], list[str]]:
    """(those that some comparison is on, the others)."""
    return [m for m in metrics if m in tested], [m for m in metrics if m not in tested]


def _against_teacher(
    summary: Summary, members: Sequence[Contestant], rows: Sequence[Comparison]
) -> str:
    """On which metrics everyone of a step count is shown to be worse than the teacher."""
    teachers = [c.name for c in summary.contestants if c.method == "teacher"]
    if len(teachers) != 1:
        return ""
    worse = [r for r in rows if r.b == teachers[0] and r.p_adjusted < ALPHA]
    worse = [r for r in worse if _gain(summary, r) < 0]
    metrics = [
        m for m in summary.metric_names()
        if {r.a for r in worse if r.metric == m} == {c.name for c in members}
    ]  # fmt: skip
    whom = "All are" if len(members) > 1 else f"{members[0].name} is"
    is_asked = all(r.family == "primary" for r in worse if r.metric in metrics)
    mark = "" if is_asked else EXPLORATORY
    return f"{mark}{whom} worse than {teachers[0]} on {_titles(metrics)}." if metrics else ""


def _titles(metrics: Sequence[str]) -> str:
    return listed(metric_words(m).title for m in metrics)


def _sentences(summary: Summary, rows: Sequence[Comparison]) -> list[str]:
    asked = [r for r in rows if r.family == "primary"]
    rest = [r for r in rows if r.family == "exploratory"]
    return [
        *_of_pairs(summary, asked),
        *(f"{EXPLORATORY}{sentence}" for sentence in _of_pairs(summary, rest)),
    ]


def _of_pairs(summary: Summary, rows: Sequence[Comparison]) -> list[str]:
    pairs = list(dict.fromkeys((r.a, r.b) for r in rows))
    return [_sentence(summary, a, b, [r for r in rows if (r.a, r.b) == (a, b)]) for a, b in pairs]


def _sentence(summary: Summary, a: str, b: str, rows: Sequence[Comparison]) -> str:
    """One pair on all metrics."""
    beyond = [r for r in rows if r.p_adjusted < ALPHA and _is_won_beyond(summary, r)]
    rows = [r for r in rows if r not in beyond]
    text = _compared(summary, a, b, rows) if rows else ""
    more = [
        f"{r.a if r.delta > 0 else r.b} has more {by}, which is not better: it has more than "
        f"{metric_words(r.metric).enough:g}."
        for r in beyond
        for by in [_by(summary, r)]
    ]
    return " ".join([text, *more]).strip()


def _is_won_beyond(summary: Summary, row: Comparison) -> bool:
    """Whether the side that has more of a metric has more than enough."""
    return is_beyond(row.metric, summary.contestant(row.a if row.delta > 0 else row.b))


def _compared(summary: Summary, a: str, b: str, rows: Sequence[Comparison]) -> str:
    """ "a is better than b on ...", told from the side that wins more of them."""
    shown = [r for r in rows if r.p_adjusted < ALPHA]
    wins = [r for r in shown if _gain(summary, r) > 0]
    losses = [r for r in shown if _gain(summary, r) < 0]
    unclear = [r for r in rows if r not in wins and r not in losses]
    n = max(r.n for r in rows)
    if not wins and not losses:
        titles = _titles([r.metric for r in unclear])
        return f"Between {a} and {b} no difference could be shown at N = {n:,} on {titles}."
    if len(losses) > len(wins):
        a, b, wins, losses = b, a, losses, wins
    text = f"{a} is better than {b} on {listed(_by(summary, r) for r in wins)}"
    if losses:
        text += f", and worse on {listed(_by(summary, r) for r in losses)}"
    if unclear:
        titles = _titles([r.metric for r in unclear])
        text += f"; no difference could be shown at N = {n:,} on {titles}"
    return text + "."


def _gain(summary: Summary, row: Comparison) -> float:
    """The difference, positive where a is better."""
    higher = summary.contestant(row.a).metrics[row.metric].higher_is_better
    return row.delta if higher else -row.delta


def _by(summary: Summary, row: Comparison) -> str:
    """ "CLIP by 0.52 [0.40, 0.64]": the size of the difference, whichever way it points."""
    places = decimals(summary, row.metric)
    low, high = sorted((row.low, row.high)) if row.delta > 0 else sorted((-row.high, -row.low))
    size, low_words, high_words = (number(v, places) for v in (abs(row.delta), low, high))
    return f"{metric_words(row.metric).title} by {size} [{low_words}, {high_words}]"
