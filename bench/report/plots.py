"""Intervals as inline SVG, and what all SVG figures share: they take the page's colours.

Every function gives markup that is safe to put into HTML; names are escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from markupsafe import Markup, escape

from bench.report.words import decimals, groups, metric_words, number
from bench.results.summary import Contestant, MetricValue, Summary

WIDTH, LABELS, ROW, GAP, FOOT = 360, 122, 20, 7, 34
COLOURS = 8
Scale = Callable[[float], float]


def colour_class(summary: Summary, method: str) -> str:
    """The CSS class that colours a method alike in every figure."""
    if method == "teacher":
        return "teacher"
    methods = list(dict.fromkeys(c.method for c in summary.contestants))
    rivals = [m for m in methods if not _quiet(summary, m)]
    return f"c{rivals.index(method) % COLOURS}" if method in rivals else "anchor"


def _quiet(summary: Summary, method: str) -> bool:
    return method == "teacher" or any(
        c.is_anchor for c in summary.contestants if c.method == method
    )


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers inside [low, high], about `about` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def intervals(summary: Summary, metric: str) -> Markup:
    """Every contestant's value and 95 % interval on one metric, anchors below.

    The axis is made for contestants and teacher; an anchor beyond it is an arrow at the edge.
    """
    parts_of_field = [[c for c in g if metric in c.metrics] for _, g in groups(summary)]
    rows = [(c, GAP * i) for i, members in enumerate(parts_of_field) for c in members]
    values = [c.metrics[metric] for c, _ in rows if not c.is_anchor]
    low, high = span(values or [c.metrics[metric] for c, _ in rows])
    height = ROW * len(rows) + rows[-1][1] + FOOT

    def x(value: float) -> float:
        return LABELS + 8 + (value - low) / (high - low) * (WIDTH - LABELS - 22)

    places = decimals(summary, metric)
    parts = [_axis(x, ticks(low, high), height, top=4)]
    for i, (contestant, gap) in enumerate(rows):
        value, y = contestant.metrics[metric], 4 + ROW * (i + 0.5) + gap
        style = colour_class(summary, contestant.method)
        parts.append(_interval_row(contestant, value, style, x, y, places))
    return svg(WIDTH, height, f"{metric_words(metric).title}, 95 % intervals", parts)


def span(values: Sequence[MetricValue]) -> tuple[float, float]:
    """An axis that holds all intervals, with a margin."""
    low, high = min(v.low for v in values), max(v.high for v in values)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _axis(x: Scale, at: Sequence[float], height: int, top: int) -> Markup:
    bottom = height - FOOT + 8
    parts = [
        Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
               '<text class="tick" x="{0:.1f}" y="{3}" text-anchor="middle">{4}</text>').format(
            x(t), top, bottom, bottom + 14, tick_words(t, at))
        for t in at
    ]  # fmt: skip
    return Markup("").join(parts)


def tick_words(value: float, at: Sequence[float]) -> str:
    """A tick with as many decimals as its neighbours need."""
    step = min((b - a for a, b in pairwise(at)), default=1.0)
    places = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    places += round(step * 10**places, 6) != round(step * 10**places)
    return number(value, places)


def _interval_row(
    contestant: Contestant, value: MetricValue, style: str, x: Scale, y: float, places: int
) -> Markup:
    words = f"{contestant.name}: {number(value.value, places)} "
    words += f"[{number(value.low, places)}, {number(value.high, places)}]"
    label = Markup('<text class="label" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
        LABELS - 4, y + 4, _short(contestant.name)
    )
    left, right = LABELS + 4, WIDTH - 6
    middle = x(value.value)
    if middle < left or middle > right:
        arrow, at, anchor = ("◂", left, "start") if middle < left else ("▸", right, "end")
        mark = Markup('<text class="edge" x="{}" y="{:.1f}" text-anchor="{}">{}</text>').format(
            at, y + 4, anchor,
            f"{arrow} {number(value.value, places)}" if anchor == "start"
            else f"{number(value.value, places)} {arrow}",
        )  # fmt: skip
    else:
        mark = Markup('<line class="whisker" x1="{:.1f}" x2="{:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
                      '<circle cx="{:.1f}" cy="{y:.1f}" r="3.6"/>').format(
            max(left, x(value.low)), min(right, x(value.high)), middle, y=y)  # fmt: skip
    return Markup('<g class="{}"><title>{}</title>{}{}</g>').format(style, words, label, mark)


def _short(name: str, most: int = 20) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def svg(width: int, height: int, title: str, parts: Sequence[Markup]) -> Markup:
    """A picture that scales with the page and is called `title`."""
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">{}</svg>'
    ).format(width, height, escape(title), Markup("").join(parts))
