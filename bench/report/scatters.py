"""Two figures as inline SVG: quality over steps, and quality against time with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bench.report import figures
from bench.report.figures import Curve, milliseconds
from bench.report.plots import WIDTH, Scale, colour_class, span, svg, tick_words, ticks
from bench.report.words import decimals, metric_words, number
from bench.results.summary import Contestant, MetricValue, Summary

HEIGHT, LEFT, RIGHT, TOP, FOOT = 226, 46, 14, 12, 40


@dataclass(frozen=True)
class Frame:
    """A figure's scales; both map data to pixels."""

    x: Scale
    y: Scale


def steps(summary: Summary, metric: str) -> Markup:
    """Every method's value at its step counts, bands of 95 %, and the teacher as a level.

    Empty where no method was run at two step counts.
    """
    lines = figures.curves(summary, metric)
    if not lines:
        return Markup("")
    level = figures.teacher(summary, metric)
    values = [value for line in lines for _, value in line.points]
    values += [level.metrics[metric]] if level else []
    counts = sorted({count for line in lines for count, _ in line.points})
    frame = _frame([float(c) for c in counts], values, pad=1.12)
    parts = [_rows(frame, values), _columns(frame, [(float(c), str(c)) for c in counts])]
    if level is not None:
        parts.append(_level(frame, level, metric))
    parts += [_band(summary, line, frame) for line in lines]
    parts += [_line(summary, line, metric, frame) for line in lines]
    parts.append(_under("steps"))
    return svg(WIDTH, HEIGHT, f"{metric_words(metric).title} at each number of steps", parts)


def latency(summary: Summary, metric: str) -> Markup:
    """Quality against milliseconds per image, both with what no other contestant beats (dashed).

    Empty where fewer than two contestants were timed.
    """
    rows = figures.timed(summary, metric)
    if not rows:
        return Markup("")
    times = [milliseconds(c) for c in rows]
    values = [c.metrics[metric] for c in rows]
    frame = _frame(times, values, pad=1.3)
    marks = _decades(min(times) / 1.3, max(times) * 1.3)
    parts = [_rows(frame, values), _columns(frame, [(t, f"{t:g}") for t in marks])]
    parts.append(_front(frame, figures.frontier(rows, metric), metric))
    for method in dict.fromkeys(c.method for c in rows):
        parts.append(_points(summary, [c for c in rows if c.method == method], metric, frame))
    parts.append(_under("ms per image"))
    arrow = "higher" if values[0].higher_is_better else "lower"
    title = f"{metric_words(metric).title} ({arrow} is better) against ms per image"
    return svg(WIDTH, HEIGHT, title, parts)


def _frame(across: Sequence[float], values: Sequence[MetricValue], pad: float) -> Frame:
    first, last = math.log(min(across) / pad), math.log(max(across) * pad)
    low, high = span(values)
    return Frame(
        lambda t: LEFT + (math.log(t) - first) / (last - first) * (WIDTH - LEFT - RIGHT),
        lambda v: TOP + (high - v) / (high - low) * (HEIGHT - TOP - FOOT),
    )


def _rows(frame: Frame, values: Sequence[MetricValue]) -> Markup:
    at = ticks(*span(values))
    parts = [
        Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>'
               '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            LEFT, WIDTH - 6, LEFT - 6, frame.y(v) + 4, tick_words(v, at), y=frame.y(v))
        for v in at
    ]  # fmt: skip
    return Markup("").join(parts)


def _columns(frame: Frame, marks: Sequence[tuple[float, str]]) -> Markup:
    bottom = HEIGHT - FOOT
    parts = [
        Markup('<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{}" y2="{}"/>'
               '<text class="tick" x="{x:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            bottom, bottom + 5, bottom + 18, words, x=frame.x(at))
        for at, words in marks
    ]  # fmt: skip
    return Markup("").join(parts)


def _under(words: str) -> Markup:
    return Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(
        WIDTH - 6, HEIGHT - 5, words
    )


def _level(frame: Frame, contestant: Contestant, metric: str) -> Markup:
    y = frame.y(contestant.metrics[metric].value)
    return Markup(
        '<g class="teacher"><title>{}</title>'
        '<line class="level" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>'
        '<text class="point" x="{}" y="{:.1f}" text-anchor="end">teacher</text></g>'
    ).format(contestant.name, LEFT, WIDTH - 6, WIDTH - 8, y - 5 if y > 24 else y + 13, y=y)


def _band(summary: Summary, line: Curve, frame: Frame) -> Markup:
    upper = [f"{frame.x(s):.1f},{frame.y(v.high):.1f}" for s, v in line.points]
    lower = [f"{frame.x(s):.1f},{frame.y(v.low):.1f}" for s, v in reversed(line.points)]
    return Markup('<polygon class="band {}" points="{}"/>').format(
        colour_class(summary, line.method), " ".join(upper + lower)
    )


def _line(summary: Summary, line: Curve, metric: str, frame: Frame) -> Markup:
    path = " ".join(f"{frame.x(s):.1f},{frame.y(v.value):.1f}" for s, v in line.points)
    marks = [
        Markup('<g><title>{}</title>{}<circle cx="{:.1f}" cy="{:.1f}" r="3.2"/></g>').format(
            _words(summary, f"{line.method}, {s} step{'s' * (s != 1)}", metric, v),
            _whisker(frame, frame.x(s), v) if len(line.points) == 1 else "",
            frame.x(s), frame.y(v.value))
        for s, v in line.points
    ]  # fmt: skip
    return Markup('<g class="{}"><polyline points="{}"/>{}</g>').format(
        colour_class(summary, line.method), path, Markup("").join(marks)
    )


def _front(frame: Frame, front: Sequence[Contestant], metric: str) -> Markup:
    """A staircase: what is the best value that this much time buys."""
    places: list[tuple[float, float]] = []
    for row in front:
        x, y = frame.x(milliseconds(row)), frame.y(row.metrics[metric].value)
        places += [(x, places[-1][1])] if places else []
        places.append((x, y))
    places.append((WIDTH - 6, places[-1][1]))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    names = ", ".join(row.name for row in front)
    return Markup(
        '<g class="front"><title>Pareto front: {}</title><polyline points="{}"/></g>'
    ).format(names, path)


def _points(summary: Summary, line: Sequence[Contestant], metric: str, frame: Frame) -> Markup:
    """One method's points with whiskers, labelled by step count, joined in order of time."""
    places = [(frame.x(milliseconds(c)), frame.y(c.metrics[metric].value)) for c in line]
    path = Markup('<polyline points="{}"/>').format(" ".join(f"{x:.1f},{y:.1f}" for x, y in places))
    marks = [
        Markup('<g><title>{}</title>{}<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6"/>'
               '<text class="point" x="{x:.1f}" y="{:.1f}" text-anchor="middle">{}</text></g>'
               ).format(
            _words(summary, f"{c.name}, {milliseconds(c):.1f} ms", metric, c.metrics[metric]),
            _whisker(frame, x, c.metrics[metric]),
            max(10, frame.y(c.metrics[metric].high) - 5), "" if c.steps is None else c.steps,
            x=x, y=y)
        for c, (x, y) in zip(line, places, strict=True)
    ]  # fmt: skip
    style = colour_class(summary, line[0].method)
    return Markup('<g class="{}">{}{}</g>').format(style, path, Markup("").join(marks))


def _whisker(frame: Frame, x: float, value: MetricValue) -> Markup:
    return Markup(
        '<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>'
    ).format(frame.y(value.low), frame.y(value.high), x=x)


def _words(summary: Summary, name: str, metric: str, value: MetricValue) -> str:
    places = decimals(summary, metric)
    low, high = number(value.low, places), number(value.high, places)
    return f"{name}: {number(value.value, places)} [{low}, {high}]"


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]
