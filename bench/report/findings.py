"""The findings of a run, one sentence for each step count, as its tests support it: who is best,
who is worst, the user's own contestant, who is behind the teacher, what is undecided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from bench.report import pairs
from bench.report.pairs import ALPHA, Sentences
from bench.report.users_own import added
from bench.report.words import groups, listed, titles
from bench.results.summary import Comparison, Contestant, Family, Summary

ANY: tuple[Family, ...] = ("primary", "exploratory")
WORST = ("is worst on", "are behind all others on")
EXPLORATORY = " (exploratory)"  # of what the suite does not ask for
Ranked = Callable[[Summary, Sequence[Contestant], str, Sequence[Family]], tuple[str, ...]]


@dataclass(frozen=True)
class Places:
    """Metrics on which a contestant is first, or last: by primary and by exploratory
    comparisons."""

    asked: list[str] = field(default_factory=list)
    exploratory: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Findings:
    """The findings on the contestants of one step count. pairs: a sentence for each."""

    heading: str
    sentence: str
    pairs: Sentences


def findings(summary: Summary) -> list[Findings]:
    """For each step count its sentence, and every pair of it, each against the teacher, too."""
    made = []
    for heading, members in groups(summary):
        names = {c.name for c in members}
        rows = [r for r in summary.comparisons if r.a in names]
        if heading not in ("Teacher", "Anchors") and rows:
            said = pairs.sentences(summary, rows)
            sentence = _sentence(summary, members, rows) or said.first
            made.append(Findings(heading, f"{_so_far(summary, members)}{sentence}", said))
    return made


def _so_far(summary: Summary, members: Sequence[Contestant]) -> str:
    """The sentence's beginning if contestants of a step count are still missing."""
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
    return next(iter(_first(summary, members, metric, families)), None)


def _first(
    summary: Summary, members: Sequence[Contestant], metric: str, families: Sequence[Family]
) -> tuple[str, ...]:
    ranked, beaten = _ranking(summary, members, metric, families)
    is_best = len(ranked) > 1 and beaten.get(ranked[0], set()) >= set(ranked[1:])
    return (ranked[0],) if is_best and not _beyond(summary, metric, ranked[:1]) else ()


def trailing(
    summary: Summary,
    members: Sequence[Contestant],
    metric: str,
    families: Sequence[Family] = ("primary",),
) -> tuple[str, ...]:
    """The fewest contestants, at most half of `members`, that every other one is shown to be better
    than on `metric`; () where there are none, or only two contestants."""
    ranked, beaten = _ranking(summary, members, metric, families)
    for count in range(1, len(ranked) // 2 + 1):
        ahead, behind = ranked[:-count], ranked[-count:]
        if len(ranked) > 2 and all(beaten.get(name, set()) >= set(behind) for name in ahead):
            return () if _beyond(summary, metric, ahead) else tuple(behind)
    return ()


def _beyond(summary: Summary, metric: str, names: Sequence[str]) -> bool:
    """Whether one of them is above the point from which more is not better."""
    return any(pairs.is_beyond(metric, summary.contestant(name)) for name in names)


def _ranking(
    summary: Summary, members: Sequence[Contestant], metric: str, families: Sequence[Family]
) -> tuple[list[str], dict[str, set[str]]]:
    """(contestants from best to worst as measured, whom each is shown to be better than)."""
    rivals = [c for c in members if metric in c.metrics]
    sign = -1 if rivals and rivals[0].metrics[metric].higher_is_better else 1
    ranked = [c.name for c in sorted(rivals, key=lambda c: sign * c.metrics[metric].value)]
    beaten: dict[str, set[str]] = {}
    for row in summary.comparisons:
        if row.metric == metric and row.family in families and row.p_adjusted < ALPHA:
            winner, loser = (row.a, row.b) if sign * row.delta < 0 else (row.b, row.a)
            beaten.setdefault(winner, set()).add(loser)
    return ranked, beaten


def _sentence(summary: Summary, members: Sequence[Contestant], rows: Sequence[Comparison]) -> str:
    metrics = [m for m in summary.metric_names() if sum(m in c.metrics for c in members) > 1]
    best, worst = (_places(summary, members, metrics, of) for of in (_first, trailing))
    parts = [
        *(_said(names, "is best on", places, metrics) for names, places in best.items()),
        *(_said(names, WORST[len(names) > 1], places, metrics) for names, places in worst.items()),
        *_standing(summary, members, {name for names in (*best, *worst) for name in names}),
        *_against_teacher(summary, members, rows),
        *_open(members, metrics, best, rows),
    ]
    text = "; ".join(parts) + "." if parts else ""
    is_name = text.startswith(tuple(c.name for c in members))
    return text if is_name else text[:1].upper() + text[1:]


def _places(
    summary: Summary, members: Sequence[Contestant], metrics: Sequence[str], of: Ranked
) -> dict[tuple[str, ...], Places]:
    """By contestants, the metrics on which they are first, or last."""
    found: dict[tuple[str, ...], Places] = {}
    for metric in metrics:
        asked = of(summary, members, metric, ("primary",))
        names = asked or of(summary, members, metric, ANY)
        if names:
            place = found.setdefault(names, Places())
            (place.asked if asked else place.exploratory).append(metric)
    return found


def _said(names: Sequence[str], what: str, places: Places, metrics: Sequence[str]) -> str:
    """ "a is best on FID and CLIP and, exploratory, on HPS"."""
    asked, rest = places.asked, places.exploratory
    text = f"{listed(names)} {what}"
    if not asked:
        return f"{text} {_on(rest, metrics)}{EXPLORATORY}"
    more = f" and, exploratory, on {titles(rest)}" if rest else ""
    return f"{text} {_on(asked, metrics)}{more}"


def _on(metrics: Sequence[str], of: Sequence[str], every: str = "all") -> str:
    """Their titles; in short if they are all metrics."""
    return f"{every} {len(of)} metrics" if len(metrics) == len(of) > 2 else titles(metrics)


def _standing(summary: Summary, members: Sequence[Contestant], known: Set[str]) -> list[str]:
    """How many rivals the user's contestants beat and lose to, if they are not named yet."""
    metric = pairs.headline(summary) or ""
    rivals = {c.name for c in members if metric in c.metrics}
    rows = [r for r in summary.comparisons if r.metric == metric and {r.a, r.b} <= rivals]
    of = f"{len(rivals) - 1} rivals on {titles([metric])}"
    mark = "" if all(r.family == "primary" for r in rows) else EXPLORATORY
    alike: dict[tuple[int, int], list[str]] = {}
    for name in (c.name for c in members if c.name in (added(summary) - known) & rivals):
        if len(rivals) > 1:
            alike.setdefault(_record(summary, rows, name), []).append(name)
    return [
        f"{listed(names)} {'is' if len(names) == 1 else 'are each'} better than {won} and worse "
        f"than {lost} of {of}{mark}"
        if won or lost
        else f"no difference could be shown between {' or '.join(names)} and any of {of}{mark}"
        for (won, lost), names in alike.items()
    ]


def _record(summary: Summary, rows: Sequence[Comparison], name: str) -> tuple[int, int]:
    """How many others a contestant is shown to be better than, and worse than."""
    gains = [
        pairs.gain(summary, row) * (1 if row.a == name else -1)
        for row in rows
        if name in (row.a, row.b) and row.p_adjusted < ALPHA
    ]
    return sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)


def _against_teacher(
    summary: Summary, members: Sequence[Contestant], rows: Sequence[Comparison]
) -> list[str]:
    """The metrics on which all contestants of a step count are shown to be worse than the
    teacher."""
    teachers = [c.name for c in summary.contestants if c.method == "teacher"]
    if len(teachers) != 1:
        return []
    against = [r for r in rows if r.b == teachers[0]]
    worse = [r for r in against if r.p_adjusted < ALPHA and pairs.gain(summary, r) < 0]
    tested = list(dict.fromkeys(r.metric for r in against))
    metrics = [m for m in tested
               if {r.a for r in worse if r.metric == m} == {c.name for c in members}]  # fmt: skip
    whom = "all are" if len(members) > 1 else f"{members[0].name} is"
    is_asked = all(r.family == "primary" for r in worse if r.metric in metrics)
    mark = "" if is_asked else EXPLORATORY
    return [f"{whom} worse than {teachers[0]} on {_on(metrics, tested)}{mark}"] if metrics else []


def _open(
    members: Sequence[Contestant], metrics: Sequence[str],
    best: Mapping[tuple[str, ...], Places], rows: Sequence[Comparison],
) -> list[str]:  # fmt: skip
    """Metrics without a best contestant, and untested metrics."""
    decided = {m for places in best.values() for m in (*places.asked, *places.exploratory)}
    tested = {row.metric for row in rows}
    none = [m for m in metrics if m in tested - decided]
    untested = [m for m in metrics if m not in tested]
    n = max(c.n for c in members)
    where = f"at N = {n:,} on {_on(none, metrics, 'any of')}"
    parts = [f"no single best could be shown {where}"] if none else []
    return [*parts, *([f"not tested by prompt: {titles(untested)}"] if untested else [])]
