"""How much of a contestant's numbers is its sampler: best and worst cell beside the usual one.

A best cell is chosen by the very value that it shows, so it flatters: of K cells that are all alike
it lies above most of them by chance. Its difference from the recommended cell is adjusted over all
comparisons with that one, and "no difference shown" is what most cells should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from bench.report import charts, pairs
from bench.report.words import decimals, metric_words
from bench.results.csv_text import csv_text
from bench.results.summary import Comparison, Contestant, Summary
from bench.statistics.printed import number
from hypersd.whole_files import written_whole

ALPHA = 0.05
NOTE = (
    "Of the cells at each number of steps the best and the worst by value, beside the recommended "
    "one; differences from it with 95 % intervals. * shown by a paired test, adjusted over all "
    "comparisons with the recommended cell. The best cell is chosen by the value that it shows, so "
    "it flatters; settings chosen so need prompts of their own."
)
HEADS = ("metric", "steps", "recommended", "best cell", "value", "difference", "worst cell",
         "value", "difference", "cells")  # fmt: skip
COLUMNS = ("metric", "steps", "role", "cell", "value", "low", "high", "difference",
           "difference_low", "difference_high", "p_adjusted", "cells")  # fmt: skip


@dataclass(frozen=True)
class Extremes:
    """One metric at one number of steps. against: comparisons with the recommended cell, by name of
    the other; cells: how many others there are."""

    metric: str
    recommended: Contestant
    best: Contestant
    worst: Contestant
    against: dict[str, Comparison]
    cells: int


def extremes(summary: Summary, contestant: str) -> list[Extremes]:
    """Every metric at every number of steps that has a cell beside the recommended one."""
    found = []
    rows = [c for c in summary.contestants if c.name == f"{contestant}-{c.steps}step"]
    for metric in summary.metric_names():
        for own in (row for row in rows if metric in row.metrics):
            cells = [
                c for c in summary.contestants
                if c.name.startswith(f"{contestant}.") and c.steps == own.steps
                and metric in c.metrics
            ]  # fmt: skip
            if cells:
                found.append(_extremes(summary, metric, own, cells))
    return found


def _extremes(
    summary: Summary, metric: str, own: Contestant, cells: Sequence[Contestant]
) -> Extremes:
    sign = 1 if own.metrics[metric].higher_is_better else -1
    ordered = sorted(cells, key=lambda c: sign * c.metrics[metric].value)
    against = {
        (row.b if row.a == own.name else row.a): row
        for row in summary.comparisons
        if row.metric == metric and own.name in (row.a, row.b)
    }
    return Extremes(metric, own, ordered[-1], ordered[0], against, len(cells))


def write(summary: Summary, out: Path, contestant: str, console: Console) -> None:
    """sensitivity.md, .csv and .svg into a run folder; print the table and where they are."""
    found = extremes(summary, contestant)
    text = _markdown(summary, found, contestant)
    made = {"md": text, "csv": _csv(found)}
    first = pairs.headline(summary)
    if found and first is not None:
        made["svg"] = _figure(summary, contestant, first)
    for ending, content in made.items():
        with written_whole(out / f"sensitivity.{ending}") as beside:
            beside.write_text(content, encoding="utf-8")
    console.print(text, highlight=False, soft_wrap=True, markup=False)
    console.print(f"sensitivity: {out / 'sensitivity.md'}", highlight=False, soft_wrap=True)


def _markdown(summary: Summary, found: Sequence[Extremes], contestant: str) -> str:
    lines = [f"# {contestant} by sampler", "", f"| {' | '.join(HEADS)} |",
             "|---|---:|" + "---:|---|---:|---:|" + "---|---:|---:|" + "---:|"]  # fmt: skip
    lines += [f"| {' | '.join(_row(summary, one, contestant))} |" for one in found]
    return "\n".join([*lines, "", NOTE, ""])


def _row(summary: Summary, one: Extremes, contestant: str) -> list[str]:
    places = decimals(summary, one.metric)
    own = one.recommended.metrics[one.metric]
    cells = []
    for cell in (one.best, one.worst):
        value = number(cell.metrics[one.metric].value, places)
        cells += [_cell_name(cell, contestant), value, _difference(one, cell, places)]
    interval = f"{number(own.low, places)}, {number(own.high, places)}"
    return [metric_words(one.metric).title, str(one.recommended.steps),
            f"{number(own.value, places)} [{interval}]", *cells, f"{one.cells}"]  # fmt: skip


def _difference(one: Extremes, cell: Contestant, places: int) -> str:
    row = one.against.get(cell.name)
    if row is None:
        return "not compared"
    delta, low, high = _from_recommended(row, cell)
    mark = "*" if row.p_adjusted < ALPHA else ""
    low_words, high_words = number(low, places), number(high, places)
    return f"{number(delta, places)}{mark} [{low_words}, {high_words}]"


def _from_recommended(row: Comparison, cell: Contestant) -> tuple[float, float, float]:
    """The cell minus the recommended one, with its interval."""
    if row.a == cell.name:
        return row.delta, row.low, row.high
    return -row.delta, -row.high, -row.low


def _cell_name(cell: Contestant, contestant: str) -> str:
    return cell.name.removeprefix(f"{contestant}.").removesuffix(f"-{cell.steps}step")


def _csv(found: Sequence[Extremes]) -> str:
    lines: list[list[object]] = []
    for one in found:
        for role, cell in (("recommended", one.recommended), ("best", one.best),
                           ("worst", one.worst)):  # fmt: skip
            value, row = cell.metrics[one.metric], one.against.get(cell.name)
            apart: tuple[float | None, ...] = (None, None, None, None)
            if row is not None:
                apart = (*_from_recommended(row, cell), row.p_adjusted)
            lines.append([one.metric, cell.steps, role, cell.name, value.value, value.low,
                          value.high, *apart, one.cells])  # fmt: skip
    return csv_text(COLUMNS, lines)


def _figure(summary: Summary, contestant: str, metric: str) -> str:
    """All cells by their value of a metric."""
    rows = [c for c in summary.contestants if metric in c.metrics]
    rows = [c for c in rows if c.name.startswith((f"{contestant}.", f"{contestant}-"))]
    sign = -1 if rows[0].metrics[metric].higher_is_better else 1
    rows.sort(key=lambda c: sign * c.metrics[metric].value)
    return charts.intervals(replace(summary, contestants=rows), metric)
