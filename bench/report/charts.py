"""The figures of a report, drawn by matplotlib: each once, as an SVG for the page and the PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from bench.report import figures, labels, pairs
from bench.report.drawing import INK, LINE, SOFT, Box, cut, on_page, picture, shade, titled
from bench.report.figures import colour_class, milliseconds
from bench.report.labels import Label
from bench.report.words import decimals, groups, metric_words
from bench.results.summary import Contestant, MetricValue, Summary
from bench.statistics.printed import number

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

WIDTH, LABELS, ROW, GAP, FOOT = 360, 122, 20, 7, 30  # of intervals; units are 1/72 inch
SMALL, HEIGHT = 264, 184  # of steps and speed
MARGINS: Box = (40, 10, 12, 32)
FIRST_MOST = 14  # contestants whose intervals stand beside the findings
TICKS = [1, 2, 2.5, 5, 10]


@dataclass(frozen=True)
class Chart:
    """A figure of one metric.  svg: in the page's light colours."""

    metric: str
    svg: str

    @property
    def page(self) -> Markup:
        """The figure as markup of the page, in the colours of its theme."""
        return on_page(self.svg)


@dataclass(frozen=True)
class Charts:
    """All figures of a report, by metric; a kind is empty where the run has no data for it."""

    intervals: list[Chart]
    steps: list[Chart]
    speed: list[Chart]


def draw(summary: Summary) -> Charts:
    """Values with intervals, quality over steps, and quality against time."""
    metrics = summary.metric_names()
    stepped = [m for m in metrics if figures.curves(summary, m)]
    timed = [m for m in figures.asked(summary) if figures.timed(summary, m)]
    return Charts(
        [Chart(m, intervals(summary, m)) for m in metrics],
        [Chart(m, steps(summary, m)) for m in stepped],
        [Chart(m, speed(summary, m)) for m in timed],
    )


def first(summary: Summary, drawn: Charts) -> Chart | None:
    """The one figure beside the findings, of the metric that a page begins with: quality over
    steps, else values with intervals; quality against time where these are too many."""
    rows = [c for c in summary.contestants if pairs.headline(summary) in c.metrics]
    kinds = (drawn.steps, drawn.intervals if len(rows) <= FIRST_MOST else drawn.speed)
    found = [c for kind in kinds for c in kind if c.metric == pairs.headline(summary)]
    return next(iter(found), None)


def intervals(summary: Summary, metric: str) -> str:
    """Every contestant's value and 95 % interval, contestants down, anchors below.

    The axis reaches from the lowest to the highest interval, the anchors' too.
    """
    fields = [[c for c in members if metric in c.metrics] for _, members in groups(summary)]
    rows = [(c, ROW * (n + 0.5) + GAP * i) for n, (i, c) in enumerate(
        (i, c) for i, members in enumerate(fields) for c in members)]  # fmt: skip
    bottom = rows[-1][1] + ROW / 2

    def drawn(axes: Axes) -> None:
        for contestant, y in rows:
            _interval(axes, summary, contestant, metric, y)
        axes.set_yticks([y for _, y in rows], [cut(c.name) for c, _ in rows])
        for label, (contestant, _) in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_color(shade(SOFT if contestant.is_anchor else INK))
        axes.set_ylim(bottom, 0)
        axes.set_xlim(*_span([c.metrics[metric] for c, _ in rows]))
        _round_ticks(axes.xaxis)
        axes.grid(axis="x")

    size = (WIDTH, round(bottom) + 4 + FOOT)
    label = f"{metric_words(metric).title}, 95 % intervals"
    return picture(size, (LABELS, 14, 4, FOOT), label, drawn)


def steps(summary: Summary, metric: str) -> str:
    """Every method's value at its step counts, bands of 95 %, and the teacher as a level."""
    lines = figures.curves(summary, metric)
    level = figures.teacher(summary, metric)
    values = [value for line in lines for _, value in line.points]
    counts = sorted({count for line in lines for count, _ in line.points})

    def drawn(axes: Axes) -> None:
        if level is not None:
            _level(axes, level, metric)
        for line in lines:
            _curve(axes, summary, line, metric)
        axes.set_ylim(*_span([*values, *([level.metrics[metric]] if level else [])]))
        _logarithmic(axes, counts[0] / 1.12, counts[-1] * 1.12, counts, "steps")

    label = f"{metric_words(metric).title} at each number of steps"
    return picture((SMALL, HEIGHT), MARGINS, label, drawn)


def speed(summary: Summary, metric: str) -> str:
    """Quality against milliseconds per image; dashed: the Pareto front."""
    rows = figures.timed(summary, metric)
    first, last = milliseconds(rows[0]) / 1.3, milliseconds(rows[-1]) * 1.3
    marks = [m * 10.0**p for p in range(-3, 7) for m in (1, 2, 5) if first <= m * 10.0**p <= last]

    def drawn(axes: Axes) -> None:
        _front(axes, figures.frontier(rows, metric), metric, last)
        for method in dict.fromkeys(c.method for c in rows):
            _timings(axes, summary, [c for c in rows if c.method == method], metric)
        axes.set_ylim(*_span([c.metrics[metric] for c in rows]))
        _logarithmic(axes, first, last, marks, "ms per image")
        labels.place(axes, [_steps_label(summary, c, metric) for c in rows if c.steps is not None])

    better = "higher" if rows[0].metrics[metric].higher_is_better else "lower"
    label = f"{metric_words(metric).title} ({better} is better) against ms per image"
    return picture((SMALL, HEIGHT), MARGINS, label, drawn)


def _interval(axes: Axes, summary: Summary, contestant: Contestant, metric: str, y: float) -> None:
    value, colour = contestant.metrics[metric], _colour(summary, contestant)
    title = _words(summary, contestant.name, metric, value)
    titled(title, axes.plot([value.low, value.high], [y, y], color=colour, alpha=0.55,
                             linewidth=2))  # fmt: skip
    titled(title, axes.plot(value.value, y, "o", color=colour, markersize=7.2))


def _level(axes: Axes, teacher: Contestant, metric: str) -> None:
    value = teacher.metrics[metric].value
    line = axes.axhline(value, color=shade("teacher"), linestyle=":", linewidth=1.2, alpha=0.8)
    titled(teacher.name, [line])
    axes.annotate("teacher", (1, value), (0, 2), fontsize=9.5, ha="right", va="bottom",
                  xycoords=("axes fraction", "data"), textcoords="offset points")  # fmt: skip


def _curve(axes: Axes, summary: Summary, line: figures.Curve, metric: str) -> None:
    colour = shade(colour_class(summary, line.method))
    across = [count for count, _ in line.points]
    if len(line.points) == 1:
        _whisker(axes, across[0], line.points[0][1], colour)
    else:
        around = [*across, *reversed(across)]
        edges = [v.high for _, v in line.points] + [v.low for _, v in reversed(line.points)]
        axes.fill(around, edges, color=colour, alpha=0.16, linewidth=0)
        axes.plot(across, [v.value for _, v in line.points], color=colour, alpha=0.6)
    for count, value in line.points:
        name = f"{line.method}, {count} step{'s' * (count != 1)}"
        dot = axes.plot(count, value.value, "o", color=colour, markersize=6.4)
        titled(_words(summary, name, metric, value), dot)


def _front(axes: Axes, front: Sequence[Contestant], metric: str, last: float) -> None:
    """A staircase: the best value for at most this much time."""
    times = [milliseconds(c) for c in front]
    values = [c.metrics[metric].value for c in front]
    stairs = axes.step([*times, last], [*values, values[-1]], where="post", color=shade(INK),
                       linestyle=(0, (4, 3)), linewidth=1.1, alpha=0.75)  # fmt: skip
    titled(f"Pareto front: {', '.join(c.name for c in front)}", stairs)


def _timings(axes: Axes, summary: Summary, line: Sequence[Contestant], metric: str) -> None:
    """One method's points with whiskers, joined in order of time."""
    colour = _colour(summary, line[0])
    if len(line) > 1:
        axes.plot([milliseconds(c) for c in line], [c.metrics[metric].value for c in line],
                  color=colour, alpha=0.5)  # fmt: skip
    for contestant in line:
        value, at = contestant.metrics[metric], milliseconds(contestant)
        title = _words(summary, f"{contestant.name}, {at:.1f} ms", metric, value)
        titled(title, _whisker(axes, at, value, colour))
        titled(title, axes.plot(at, value.value, "o", color=colour, markersize=6.4))


def _steps_label(summary: Summary, contestant: Contestant, metric: str) -> Label:
    value, at = contestant.metrics[metric], milliseconds(contestant)
    colour = _colour(summary, contestant)
    return Label(str(contestant.steps), at, value.value, value.low, value.high, colour)


def _whisker(axes: Axes, at: float, value: MetricValue, colour: str) -> Sequence[Artist]:
    return axes.plot([at, at], [value.low, value.high], color=colour, alpha=0.55, linewidth=1.6)


def _logarithmic(axes: Axes, first: float, last: float, marks: Sequence[float], label: str) -> None:
    """Time or steps across on a logarithmic scale, values up with a grid."""
    axes.set_xscale("log")
    axes.set_xlim(first, last)
    axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
    axes.minorticks_off()
    axes.tick_params(axis="x", bottom=True, length=4, color=shade(LINE))
    axes.set_xlabel(label, loc="right", labelpad=1)
    _round_ticks(axes.yaxis)
    axes.grid(axis="y")


def _round_ticks(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    axis.set_major_locator(MaxNLocator(4, steps=TICKS))
    axis.set_major_formatter(ScalarFormatter(useOffset=False))


def _span(values: Sequence[MetricValue]) -> tuple[float, float]:
    """An axis that holds all intervals, with a margin."""
    low, high = min(v.low for v in values), max(v.high for v in values)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _words(summary: Summary, name: str, metric: str, value: MetricValue) -> str:
    places = decimals(summary, metric)
    low, high = number(value.low, places), number(value.high, places)
    return f"{name}: {number(value.value, places)} [{low}, {high}]"


def _colour(summary: Summary, contestant: Contestant) -> str:
    return shade(colour_class(summary, contestant.method))
