"""The run's table for a terminal: values from 80 columns on, intervals from 100 on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bench.report import speed
from bench.report.findings import leader
from bench.report.words import decimals, enough_words, groups, metric_words
from bench.results.summary import Contestant, Summary
from bench.statistics.printed import number

NAME = (18, 24)  # columns that a contestant's name may take; a longer one goes on below
WIDE = 100  # columns from which on intervals are always shown


@dataclass(frozen=True)
class Fitted:
    """The table that fits where it is printed."""

    summary: Summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Intervals stand beside the values where that fits, else below them or not at all."""
        beside = _table(self.summary, between=" ")
        width = console.measure(beside, options=options.update(width=10_000)).maximum
        if width <= options.max_width:
            yield beside
        else:
            yield _table(self.summary, between="\n" if options.max_width >= WIDE else None)


def table(summary: Summary) -> Fitted:
    """Contestants down, metrics across; value and, from 100 columns on, half its 95 % interval.

    Bold: shown to be better than every other contestant of its step count (Holm, p < 0.05).
    """
    return Fitted(summary)


def lines(file: TextIO, width: int) -> Console:
    """A console of plain lines into a file, in a notebook too; width: in columns."""
    return Console(
        file=file, width=width, force_jupyter=False, force_terminal=False, color_system=None
    )


def _table(summary: Summary, *, between: str | None) -> Table:
    """`between`: what stands between a value and its interval; None: no intervals."""
    metrics = summary.metric_names()
    made = Table(
        title=escape(summary.title or summary.suite),
        caption=_caption(summary, between is not None),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    names = max([10, *(len(c.name) + c.precomputed for c in summary.contestants)])
    least, most = (min(names, limit) for limit in NAME)
    made.add_column("contestant", overflow="fold", min_width=least, max_width=most)
    for metric in metrics:
        made.add_column(_heading(summary, metric), justify="right", no_wrap=True)
    made.add_column("ms /\nimage", justify="right", no_wrap=True)
    for heading, members in groups(summary):
        best = {} if heading in ("Teacher", "Anchors") else _leaders(summary, members)
        for contestant in members:
            made.add_row(
                Text(contestant.name + "*" * contestant.precomputed),
                *(_cell(summary, contestant, m, best.get(m), between) for m in metrics),
                _speed(contestant),
                style="dim" if contestant.is_anchor else "",
            )
        made.add_section()
    return made


def _leaders(summary: Summary, members: list[Contestant]) -> dict[str, str | None]:
    return {m: leader(summary, members, m) for m in summary.metric_names()}


def _heading(summary: Summary, metric: str) -> str:
    value = next(c.metrics[metric] for c in summary.contestants if metric in c.metrics)
    first, _, second = metric_words(metric).title.partition(" to ")
    return f"{first}\n{second} {'↑' if value.higher_is_better else '↓'}"


def _cell(
    summary: Summary, contestant: Contestant, metric: str, best: str | None, between: str | None
) -> Text:
    if metric not in contestant.metrics:
        return Text("-")
    value, places = contestant.metrics[metric], decimals(summary, metric)
    over = summary.over_trainings.get(contestant.name, {}).get(metric)
    shown = value.value if over is None else over.mean
    low, high = (value.low, value.high) if over is None else (over.low, over.high)
    text = Text(number(shown, places), style="bold" if best == contestant.name else "")
    if between is not None:
        half = f"{(high - low) / 2:.{places}f}".removeprefix("0") or "0"
        text.append(f"{between}±{half}", style="not bold dim")
    return text


def _speed(contestant: Contestant) -> str:
    return speed.in_table(contestant) or "-"


def _caption(summary: Summary, intervals: bool) -> str:
    n = max((c.n for c in summary.contestants), default=0)
    covered = "95 % intervals" if intervals else "intervals in the report"
    parts = [f"N = {n:,}, {covered}, bold: best by a paired test"]
    if any(speed.in_table(c) == speed.NOISY for c in summary.contestants):
        parts.append("noisy: seconds could not be measured")
    if any(c.precomputed for c in summary.contestants):
        parts.append("* shipped features")
    parts += [enough_words(summary).strip().rstrip(".")] * bool(enough_words(summary))
    if summary.missing:
        parts.append(f"left out: {', '.join(row.name for row in summary.missing)}")
    if summary.limit is not None:
        parts.append(f"quick run, limit={summary.limit}")
    return "; ".join(parts)
