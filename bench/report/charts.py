"""The figures of the PDF, drawn by matplotlib as vectors; the same data and colours as the page."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report import figures
from bench.report.figures import milliseconds
from bench.report.plots import colour_class
from bench.report.words import decimals, groups, metric_words, number
from bench.results.summary import Contestant, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCH = 6.7  # width of the text on the PDF's page
STYLE: Any = {
    "font.family": "STIXGeneral", "mathtext.fontset": "stix", "font.size": 8.5,
    "axes.titlesize": 9, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
    "axes.edgecolor": "#6b675f", "axes.labelcolor": "#3b3833",
    "xtick.color": "#3b3833", "ytick.color": "#3b3833", "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "axes.grid": True, "grid.color": "#dedad1", "grid.linewidth": 0.5, "axes.axisbelow": True,
    "pdf.fonttype": 42, "lines.linewidth": 1.2, "lines.markersize": 3.6,
    "savefig.facecolor": "none",
    "figure.facecolor": "none", "axes.facecolor": "none", "axes.unicode_minus": True,
}  # fmt: skip
Drawer = Callable[["Axes", Summary, str], None]


def draw(summary: Summary, folder: Path) -> dict[str, str]:
    """Write intervals.pdf, steps.pdf and speed.pdf into `folder`, as far as there is data.

    Returns file names by figure. Raises OSError where the folder cannot be written.
    """
    metrics = summary.metric_names()
    asked = [m for m in figures.LATENCY_METRICS if m in metrics] or metrics[:3]
    stepped = [m for m in metrics if figures.curves(summary, m)]
    timed = [m for m in asked if figures.timed(summary, m)]
    rows = max((sum(m in c.metrics for c in summary.contestants) for m in metrics), default=0)
    tall = 0.62 + 0.155 * rows
    wanted: list[tuple[str, list[str], Drawer, int, float]] = [
        ("intervals", metrics, _intervals, 2, tall),
        ("steps", stepped, _steps, 3, 1.75),
        ("speed", timed, _speed, 3, 1.9),
    ]
    return {
        name: _grid(summary, folder / f"{name}.pdf", found, drawer, columns, height)
        for name, found, drawer, columns, height in wanted
        if found
    }


def _grid(
    summary: Summary,
    path: Path,
    metrics: Sequence[str],
    drawer: Drawer,
    columns: int,
    height: float,
) -> str:
    """One axes per metric, `columns` beside each other, and the legend of methods below."""
    import matplotlib
    from matplotlib.figure import Figure

    rows = math.ceil(len(metrics) / columns)
    with matplotlib.rc_context(STYLE):
        legend = drawer is not _intervals
        made = Figure(figsize=(INCH, rows * height + 0.3 * legend), layout="constrained")
        axes = made.subplots(rows, columns, squeeze=False).ravel()
        for place, metric in zip(axes, metrics, strict=False):
            drawer(place, summary, metric)
            place.set_title(f"{metric_words(metric).title} {_arrow(summary, metric)}")
        for place in axes[len(metrics) :]:
            place.axis("off")
        if legend:
            _legend(made, summary)
        made.savefig(path, format="pdf", metadata={"CreationDate": None})
    return path.name


def _legend(figure: Any, summary: Summary) -> None:
    from matplotlib.lines import Line2D

    teachers = ["teacher"] if any(c.method == "teacher" for c in summary.contestants) else []
    handles = [
        Line2D([], [], color=colour(summary, method), marker="o", linewidth=1.2, label=method)
        for method in [*figures.methods(summary), *teachers]
    ]
    columns = min(7, max(1, len(handles)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False,
                  fontsize=7.5)  # fmt: skip


def _arrow(summary: Summary, metric: str) -> str:
    value = next(c.metrics[metric] for c in summary.contestants if metric in c.metrics)
    return "\u2191" if value.higher_is_better else "\u2193"


def _intervals(axes: Axes, summary: Summary, metric: str) -> None:
    """Values with intervals, contestants down; an anchor beyond the others is named at the edge."""
    rows = [c for _, members in groups(summary) for c in members if metric in c.metrics]
    low, high = _span([c for c in rows if not c.is_anchor] or rows, metric)
    places = decimals(summary, metric)
    for y, row in enumerate(rows):
        value, shade = row.metrics[metric], colour(summary, row.method)
        if low <= value.value <= high:
            axes.plot([max(low, value.low), min(high, value.high)], [y, y], color=shade, alpha=0.6)
            axes.plot(value.value, y, "o", color=shade)
        else:
            left = value.value < low
            axes.annotate(
                f"\u25c2 {number(value.value, places)}" if left
                else f"{number(value.value, places)} \u25b8",
                (low if left else high, y), fontsize=6.5, color=shade, va="center",
                ha="left" if left else "right", fontfamily="DejaVu Sans",
            )  # fmt: skip
    axes.set_yticks(range(len(rows)), [_short(c.name) for c in rows])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.4, -0.6)


def _steps(axes: Axes, summary: Summary, metric: str) -> None:
    lines = figures.curves(summary, metric)
    for line in lines:
        across = [s for s, _ in line.points]
        values = [v for _, v in line.points]
        shade = colour(summary, line.method)
        axes.fill_between(across, [v.low for v in values], [v.high for v in values], color=shade,
                          alpha=0.18, linewidth=0)  # fmt: skip
        axes.plot(across, [v.value for v in values], "o-", color=shade)
    level = figures.teacher(summary, metric)
    if level is not None:
        axes.axhline(level.metrics[metric].value, color="#1f1e1b", linestyle=":", linewidth=1)
        axes.annotate("teacher", (1, level.metrics[metric].value), fontsize=6.5, ha="right",
                      va="bottom", xycoords=("axes fraction", "data"))  # fmt: skip
    counts = sorted({s for line in lines for s, _ in line.points})
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(c) for c in counts])
    axes.minorticks_off()
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("steps", fontsize=7.5)


def _speed(axes: Axes, summary: Summary, metric: str) -> None:
    rows = figures.timed(summary, metric)
    for row in rows:
        value, at = row.metrics[metric], milliseconds(row)
        shade = colour(summary, row.method)
        axes.plot([at, at], [value.low, value.high], color=shade, alpha=0.6)
        axes.plot(at, value.value, "o", color=shade)
        if row.steps is not None:
            axes.annotate(str(row.steps), (at, value.high), (0, 1.5), fontsize=6, color=shade,
                          textcoords="offset points", ha="center", va="bottom")  # fmt: skip
    front = figures.frontier(rows, metric)
    times = [milliseconds(c) for c in front]
    values = [c.metrics[metric].value for c in front]
    axes.set_xscale("log")
    low, high = milliseconds(rows[0]) / 1.3, milliseconds(rows[-1]) * 1.3
    axes.step([*times, high], [*values, values[-1]], where="post", color="#1f1e1b", linestyle="--",
              linewidth=0.8, zorder=1)  # fmt: skip
    marks = [m * 10.0**p for p in range(-3, 7) for m in (1, 2, 5) if low <= m * 10.0**p <= high]
    axes.set_xlim(low, high)
    axes.set_xticks(marks, [f"{t:g}" for t in marks])
    axes.minorticks_off()
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("ms per image", fontsize=7.5)


def _span(rows: Sequence[Contestant], metric: str) -> tuple[float, float]:
    low = min(c.metrics[metric].low for c in rows)
    high = max(c.metrics[metric].high for c in rows)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else name[: most - 1] + "\u2026"


def colour(summary: Summary, method: str) -> str:
    """The colour that the page gives a method, on light paper."""
    return palette()[colour_class(summary, method)]


@cache
def palette() -> dict[str, str]:
    """The page's light colours by name, read from its style sheet."""
    style = (Path(__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6})", style))
