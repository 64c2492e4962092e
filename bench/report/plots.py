"""The page's figures as inline SVG: text and lines that take the page's colours, light or dark.

Every function gives markup that is safe to put into HTML; names are escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from bench.report.words import decimals, groups, metric_words, number
from bench.summary import Contestant, MetricValue, Summary

WIDTH, LABELS, ROW, GAP, FOOT = 360, 122, 20, 7, 34
SCATTER_HEIGHT, SCATTER_LEFT = 210, 46
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
    low, high = _range(values or [c.metrics[metric] for c, _ in rows])
    height = ROW * len(rows) + rows[-1][1] + FOOT

    def x(value: float) -> float:
        return LABELS + 8 + (value - low) / (high - low) * (WIDTH - LABELS - 22)

    places = decimals(summary, metric)
    parts = [_axis(x, ticks(low, high), height, top=4)]
    for i, (contestant, gap) in enumerate(rows):
        value, y = contestant.metrics[metric], 4 + ROW * (i + 0.5) + gap
        style = colour_class(summary, contestant.method)
        parts.append(_interval_row(contestant, value, style, x, y, places))
    return _svg(WIDTH, height, f"{metric_words(metric).title}, 95 % intervals", parts)


def _range(values: Sequence[MetricValue]) -> tuple[float, float]:
    low, high = min(v.low for v in values), max(v.high for v in values)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _axis(x: Scale, at: Sequence[float], height: int, top: int) -> Markup:
    bottom = height - FOOT + 8
    parts = [
        Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
               '<text class="tick" x="{0:.1f}" y="{3}" text-anchor="middle">{4}</text>').format(
            x(t), top, bottom, bottom + 14, _tick(t, at))
        for t in at
    ]  # fmt: skip
    return Markup("").join(parts)


def _tick(value: float, at: Sequence[float]) -> str:
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


@dataclass(frozen=True)
class Frame:
    """A scatter plot's scales."""

    x: Scale
    y: Scale


def latency(summary: Summary, metric: str) -> Markup:
    """Quality against milliseconds per image (log scale); one method's step counts are joined.

    Empty where fewer than two contestants were timed.
    """
    rows = [c for c in summary.contestants if c.seconds_per_image and metric in c.metrics]
    if len(rows) < 2:
        return Markup("")
    times = [_milliseconds(c) for c in rows]
    frame = _frame(times, [c.metrics[metric] for c in rows])
    parts = [_scatter_axes(frame, times, _range([c.metrics[metric] for c in rows]))]
    for method in dict.fromkeys(c.method for c in rows):
        line = sorted((c for c in rows if c.method == method), key=_milliseconds)
        parts.append(_curve(summary, line, metric, frame))
    arrow = "higher" if rows[0].metrics[metric].higher_is_better else "lower"
    parts.append(
        Markup('<text class="tick" x="{}" y="{}" text-anchor="end">ms per image</text>').format(
            WIDTH - 6, SCATTER_HEIGHT - 4
        )
    )
    title = f"{metric_words(metric).title} ({arrow} is better) against ms per image"
    return _svg(WIDTH, SCATTER_HEIGHT, title, parts)


def _milliseconds(contestant: Contestant) -> float:
    assert contestant.seconds_per_image is not None
    return max(1e-3, 1000 * contestant.seconds_per_image.median)


def _frame(times: Sequence[float], values: Sequence[MetricValue]) -> Frame:
    first, last = math.log10(min(times) / 1.25), math.log10(max(times) * 1.25)
    low, high = _range(values)
    return Frame(
        lambda t: (
            SCATTER_LEFT + (math.log10(t) - first) / (last - first) * (WIDTH - SCATTER_LEFT - 16)
        ),
        lambda v: 10 + (high - v) / (high - low) * (SCATTER_HEIGHT - 48),
    )


def _scatter_axes(frame: Frame, times: Sequence[float], bounds: tuple[float, float]) -> Markup:
    across = ticks(*bounds)
    rows = [
        Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>'
               '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            SCATTER_LEFT, WIDTH - 6, SCATTER_LEFT - 6, frame.y(v) + 4, _tick(v, across),
            y=frame.y(v))
        for v in across
    ]  # fmt: skip
    bottom = SCATTER_HEIGHT - 36
    columns = [
        Markup('<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{}" y2="{}"/>'
               '<text class="tick" x="{x:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            bottom, bottom + 5, bottom + 18, f"{t:g}", x=frame.x(t))
        for t in _decade_ticks(min(times) / 1.25, max(times) * 1.25)
    ]  # fmt: skip
    return Markup("").join(rows + columns)


def _decade_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]


def _curve(summary: Summary, line: Sequence[Contestant], metric: str, frame: Frame) -> Markup:
    """One method's points with whiskers, labelled by step count, joined in order of time."""
    points = [(frame.x(_milliseconds(c)), frame.y(c.metrics[metric].value)) for c in line]
    path = Markup('<polyline points="{}"/>').format(" ".join(f"{x:.1f},{y:.1f}" for x, y in points))
    marks = [
        Markup('<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>'
               '<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6"/><title>{}</title>'
               '<text class="point" x="{x:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(
            frame.y(c.metrics[metric].low), frame.y(c.metrics[metric].high), c.name,
            y - 8, "" if c.steps is None else c.steps, x=x, y=y)
        for c, (x, y) in zip(line, points, strict=True)
    ]  # fmt: skip
    groups_of_marks = Markup("").join(Markup("<g>{}</g>").format(mark) for mark in marks)
    style = colour_class(summary, line[0].method)
    return Markup('<g class="{}">{}{}</g>').format(style, path, groups_of_marks)


def _svg(width: int, height: int, title: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">{}</svg>'
    ).format(width, height, escape(title), Markup("").join(parts))
