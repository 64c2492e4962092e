"""The data of figures: step curves, the Pareto front, wins by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.report import speed
from bench.report.pairs import ALPHA
from bench.report.runfiles import Array, RunFiles
from bench.report.words import groups
from bench.results.summary import Contestant, MetricValue, Summary
from bench.statistics.metrics import METRICS

MATRIX_MOST = 40  # contestants; a larger matrix is neither readable nor small
TIMED_METRICS = tuple(name for name, row in METRICS.items() if row.against_time)
COLOURS = 8  # of methods, in the page's style sheet


@dataclass(frozen=True)
class Curve:
    """One method's values over its step counts, ascending."""

    method: str
    points: list[tuple[int, MetricValue]]


@dataclass(frozen=True)
class WinMatrix:
    """Share of prompts on which the row's contestant is better than the column's, ties half.

    rates: [R, R], nan on the diagonal and where there is none.  decided: [R, R], whether the
    paired test of that pair shows a difference (adjusted p < 0.05).
    """

    metric: str
    names: list[str]
    rates: Array
    decided: list[list[bool]]


def methods(summary: Summary) -> list[str]:
    """Every method under test, in order of appearance: no teacher, no anchor."""
    rivals = [c for c in summary.contestants if not c.is_anchor and c.method != "teacher"]
    return list(dict.fromkeys(c.method for c in rivals))


def colour_class(summary: Summary, method: str) -> str:
    """The page's name for the colour that a method has in every figure."""
    if method == "teacher":
        return "teacher"
    rivals = methods(summary)
    return f"c{rivals.index(method) % COLOURS}" if method in rivals else "anchor"


def colours(summary: Summary) -> list[tuple[str, str]]:
    """(method, its colour) for a legend, the teacher last."""
    teacher = ["teacher"] if any(c.method == "teacher" for c in summary.contestants) else []
    return [(m, colour_class(summary, m)) for m in [*methods(summary), *teacher]]


def curves(summary: Summary, metric: str) -> list[Curve]:
    """A curve for every method; empty where none was run at two step counts."""
    found = []
    for method in methods(summary):
        points: dict[int, MetricValue] = {}
        for c in summary.contestants:
            if c.method == method and c.steps is not None and metric in c.metrics:
                points.setdefault(c.steps, c.metrics[metric])
        if points:
            found.append(Curve(method, sorted(points.items())))
    return found if any(len(curve.points) > 1 for curve in found) else []


def teacher(summary: Summary, metric: str) -> Contestant | None:
    """The only teacher, where it has this metric."""
    found = [c for c in summary.contestants if c.method == "teacher"]
    return found[0] if len(found) == 1 and metric in found[0].metrics else None


def asked(summary: Summary) -> list[str]:
    """The metrics that are plotted against time."""
    metrics = summary.metric_names()
    return [m for m in TIMED_METRICS if m in metrics] or metrics[:3]


def timed(summary: Summary, metric: str) -> list[Contestant]:
    """Contestants with this metric whose seconds could be measured, fastest first; empty where
    fewer than two."""
    rows = [c for c in summary.contestants if speed.measured(c) and metric in c.metrics]
    rows.sort(key=milliseconds)
    return rows if len(rows) > 1 else []


def milliseconds(contestant: Contestant) -> float:
    """Median milliseconds per image, above 0."""
    assert contestant.seconds_per_image is not None
    return max(1e-3, 1000 * contestant.seconds_per_image.median)


def frontier(rows: Sequence[Contestant], metric: str) -> list[Contestant]:
    """Those that no other one equals or beats in both speed and value: the Pareto front, fastest
    first.

    The best comes first; another is on the front where it is faster by more than 10 % than all that
    are better, since seconds of equal networks are no nearer to each other.  Values as measured;
    whether a lead is more than chance, tests say.
    """
    front: list[Contestant] = []
    for row in sorted(rows, key=lambda c: (-_goodness(c, metric), milliseconds(c))):
        if not front or speed.ALIKE * milliseconds(row) < milliseconds(front[-1]):
            front.append(row)
    return front[::-1]


def wins(summary: Summary, files: RunFiles, metric: str) -> WinMatrix | None:
    """Who wins against whom on a metric with scores of single images; None without, or for
    more than 40 contestants.

    From the run's per-prompt scores; where those are gone, from the comparisons alone.
    """
    ordered = (c for _, members in groups(summary) for c in members)
    rivals = [c for c in ordered if not c.is_anchor and metric in c.metrics]
    names = [c.name for c in rivals]
    if not 2 <= len(names) <= MATRIX_MOST:
        return None
    higher = rivals[0].metrics[metric].higher_is_better
    rates = np.full((len(names), len(names)), np.nan)
    decided = [[False] * len(names) for _ in names]
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            delta = files.difference(a, b, metric) if i != j else None
            if delta is not None and np.isfinite(delta).any():
                rates[i, j] = _rate(delta if higher else -delta)
    for row in summary.comparisons:
        if row.metric == metric and row.a in names and row.b in names:
            i, j = names.index(row.a), names.index(row.b)
            decided[i][j] = decided[j][i] = row.p_adjusted < ALPHA
            if row.win_rate is not None and np.isnan(rates[i, j]):
                rates[i, j], rates[j, i] = row.win_rate, 1 - row.win_rate
    return WinMatrix(metric, names, rates, decided) if np.isfinite(rates).any() else None


def _rate(gain: Array) -> float:
    known = gain[np.isfinite(gain)]
    return float(((known > 0) + 0.5 * (known == 0)).mean())


def _goodness(contestant: Contestant, metric: str) -> float:
    value = contestant.metrics[metric]
    return value.value if value.higher_is_better else -value.value
