"""Orders pairs for a reader, and puts their tests into sentences.

First those of a contestant that the user's command names, then what the suite asks for, then the
rest; rivals before the teacher, and the strongest rival first.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.report.users_own import added
from bench.report.words import decimals, listed, metric_words, titles
from bench.results.summary import Comparison, Contestant, Summary
from bench.statistics.metrics import METRICS
from bench.statistics.printed import number

ALPHA = 0.05
Pair = tuple[str, str]


@dataclass(frozen=True)
class Sentences:
    """Sentences on primary comparisons, and on exploratory ones; all are primary if the suite names
    none."""

    asked: list[str] = field(default_factory=list)
    exploratory: list[str] = field(default_factory=list)

    @property
    def first(self) -> str:
        """The first sentence, "" without any."""
        return next(iter([*self.asked, *self.exploratory]), "")

    def __len__(self) -> int:
        return len(self.asked) + len(self.exploratory)


def ordered(summary: Summary) -> list[Pair]:
    """Every compared pair once, the most relevant first; its first contestant is the subject.

    Within a kind of pair the step counts take turns.
    """
    mine, asked = added(summary), Counter(_asked(summary.comparisons))
    teachers = {c.name for c in summary.contestants if c.method == "teacher"}
    families: dict[Pair, set[str]] = {}
    for row in summary.comparisons:
        families.setdefault((row.a, row.b), set()).add(row.family)
    steps_of = {c.name: c.steps or 0 for c in summary.contestants}
    metric = headline(summary)
    strength = {c.name: _strength(c, metric) for c in summary.contestants}
    kinds: dict[tuple[int, int], list[Pair]] = {}
    for pair, found in families.items():
        a, b = _turned(pair, mine, asked, teachers)
        kind = 0 if {a, b} & mine else 2 if "primary" in found else 4
        of = (kind + (b in teachers), steps_of.get(a, 0))
        kinds.setdefault(of, []).append((a, b))
    placed = [
        (kind, place, steps, pair)
        for (kind, steps), pairs in kinds.items()
        for place, pair in enumerate(sorted(pairs, key=lambda p: -strength.get(p[1], -math.inf)))
    ]
    return [pair for *_, pair in sorted(placed, key=lambda one: one[:3])]


def _asked(rows: Iterable[Comparison]) -> Iterator[str]:
    """Contestants of the pairs that a suite asks for, where it does not ask for all."""
    rows = list(rows)
    if any(row.family == "exploratory" for row in rows):
        for pair in dict.fromkeys((r.a, r.b) for r in rows if r.family == "primary"):
            yield from pair


def _turned(pair: Pair, mine: set[str], asked: Mapping[str, int], teachers: set[str]) -> Pair:
    """A pair with its subject first: the user's contestant, else the suite's primary one."""
    a, b = sorted(pair, key=lambda name: (name in teachers, name not in mine, -asked[name]))
    return a, b


def headline(summary: Summary) -> str | None:
    """The metric that a page begins with: the first that scores single pictures, else any."""
    single = {row.metric for row in summary.comparisons if row.win_rate is not None}
    named = summary.metric_names()
    return next(iter([*(m for m in METRICS if m in single), *named]), None)


def _strength(contestant: Contestant, metric: str | None) -> float:
    """A contestant's value of a metric, the better the larger; unknown is worst."""
    value = contestant.metrics.get(metric or "")
    if value is None:
        return -math.inf
    return value.value if value.higher_is_better else -value.value


def sentences(summary: Summary, rows: Sequence[Comparison]) -> Sentences:
    """A sentence for each pair of `rows` and family, the most relevant pair first."""
    order = {frozenset(pair): place for place, pair in enumerate(ordered(summary))}
    pairs: dict[tuple[str, frozenset[str]], list[Comparison]] = {}
    for row in rows:
        pairs.setdefault((row.family, frozenset((row.a, row.b))), []).append(row)
    placed = sorted(pairs.items(), key=lambda item: order[item[0][1]])
    return Sentences(
        [_sentence(summary, own) for (family, _), own in placed if family == "primary"],
        [_sentence(summary, own) for (family, _), own in placed if family == "exploratory"],
    )


def is_beyond(metric: str, contestant: Contestant) -> bool:
    """Whether a contestant's value is above the point from which more is not better."""
    enough = metric_words(metric).enough
    return enough is not None and contestant.metrics[metric].value > enough


def _sentence(summary: Summary, rows: Sequence[Comparison]) -> str:
    """One pair on all metrics."""
    beyond = [r for r in rows if r.p_adjusted < ALPHA and _is_won_beyond(summary, r)]
    others = [r for r in rows if r not in beyond]
    more = [
        f"{r.a if r.delta > 0 else r.b} has more {_by(summary, r)}, which is not better: it has "
        f"more than {metric_words(r.metric).enough:g}."
        for r in beyond
    ]
    return " ".join([*([_compared(summary, others)] if others else []), *more])


def _is_won_beyond(summary: Summary, row: Comparison) -> bool:
    """Whether the side that has more of a metric has more than enough."""
    return is_beyond(row.metric, summary.contestant(row.a if row.delta > 0 else row.b))


def _compared(summary: Summary, rows: Sequence[Comparison]) -> str:
    """ "a is better than b on ...", with the side that wins more metrics as subject."""
    a, b = rows[0].a, rows[0].b
    shown = [r for r in rows if r.p_adjusted < ALPHA]
    wins = [r for r in shown if gain(summary, r) > 0]
    losses = [r for r in shown if gain(summary, r) < 0]
    unclear = titles(r.metric for r in rows if r not in wins and r not in losses)
    open_words = f"no difference could be shown at N = {max(r.n for r in rows):,} on {unclear}"
    if not wins and not losses:
        return f"Between {a} and {b} {open_words}."
    if len(losses) > len(wins):
        a, b, wins, losses = b, a, losses, wins
    text = f"{a} is better than {b} on {listed(_by(summary, r) for r in wins)}"
    if losses:
        text += f", and worse on {listed(_by(summary, r) for r in losses)}"
    return f"{text}; {open_words}." if unclear else f"{text}."


def gain(summary: Summary, row: Comparison) -> float:
    """The difference, positive where a is better."""
    higher = summary.contestant(row.a).metrics[row.metric].higher_is_better
    return row.delta if higher else -row.delta


def _by(summary: Summary, row: Comparison) -> str:
    """ "CLIP by 0.52 [0.40, 0.64]": the size of the difference, whichever way it points."""
    places = decimals(summary, row.metric)
    low, high = sorted((row.low, row.high)) if row.delta > 0 else sorted((-row.high, -row.low))
    size, low_words, high_words = (number(v, places) for v in (abs(row.delta), low, high))
    return f"{metric_words(row.metric).title} by {size} [{low_words}, {high_words}]"


def equivalent(summary: Summary) -> Sentences:
    """Pairs shown to differ by less than the smallest difference that matters."""
    found: dict[tuple[str, Pair], list[str]] = {}
    for row in summary.comparisons:
        test = row.equivalence
        if test is not None and test.p_equivalent_adjusted < ALPHA:
            words = f"{metric_words(row.metric).title} (by less than {test.margin:.3g})"
            found.setdefault((row.family, (row.a, row.b)), []).append(words)
    said = {
        (family, pair): f"{pair[0]} and {pair[1]} differ by less than matters on {listed(words)}."
        for (family, pair), words in found.items()
    }
    return Sentences(
        [text for (family, _), text in said.items() if family == "primary"],
        [text for (family, _), text in said.items() if family == "exploratory"],
    )
