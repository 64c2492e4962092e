"""Whether more steps ever make a contestant worse: a sentence for each, a table of doublings."""

from __future__ import annotations

from itertools import groupby

from bench.report.words import decimals, listed, metric_words
from bench.results.csv_text import csv_text
from bench.results.summary import StepResponse, Summary
from bench.statistics.printed import number

HEADS = ("contestant", "metric", "steps", "change with more steps", "margin", "verdict")
COLUMNS = ("contestant", "metric", "steps", "more", "delta", "low", "high", "margin",
           "p_not_worse", "p_worse_adjusted", "prompts", "verdict")  # fmt: skip
NOTE = (
    "Twice as many steps against the same contestant, paired by prompt, with 95 % intervals. Not "
    "worse: a loss of the margin is ruled out, one-sided at 5 %. Worse: a loss of more than the "
    "margin is shown, adjusted over all of this table (Holm). About these weights, one training "
    "each."
)


def sentences(summary: Summary) -> list[str]:
    """One for each contestant that has a doubling."""
    by_name = groupby(summary.step_response, key=lambda one: one.contestant)
    return [_sentence(name, [*rows]) for name, rows in by_name]


def _sentence(name: str, rows: list[StepResponse]) -> str:
    steps = sorted({one.steps for one in rows} | {one.more for one in rows})
    of = f"from {steps[0]} to {steps[-1]} steps"
    worse = [one for one in rows if one.verdict == "worse"]
    if worse:
        return f"{name}: more steps are worse, {_places(worse)}"
    open_ = [one for one in rows if one.verdict == "not shown"]
    if not open_:
        metrics = listed(metric_words(m).title for m in dict.fromkeys(r.metric for r in rows))
        return f"{name}: never worse with more steps by the margin, {of}, on {metrics}"
    return f"{name}: {of} no loss is shown, but on {_places(open_)} none is ruled out"


def _places(rows: list[StepResponse]) -> str:
    return listed(f"{metric_words(r.metric).title} {_doubling(r)}" for r in rows)


def _doubling(one: StepResponse) -> str:
    return f"{one.steps} \N{RIGHTWARDS ARROW} {one.more}"


def cells(summary: Summary) -> list[list[str]]:
    """The rows of the table under HEADS, ready to print."""
    return [_cells(summary, one) for one in summary.step_response]


def _cells(summary: Summary, one: StepResponse) -> list[str]:
    places = decimals(summary, one.metric) + 1
    delta, low, high = (number(v, places) for v in (one.delta, one.low, one.high))
    return [one.contestant, metric_words(one.metric).title, _doubling(one),
            f"{delta} [{low}, {high}]", f"{one.margin:.3g}", one.verdict]  # fmt: skip


def markdown(summary: Summary) -> str:
    """Sentences, the table as a pipe table, and how it is to be read."""
    lines = [*(f"- {one}" for one in sentences(summary)), "", f"| {' | '.join(HEADS)} |",
             "|---|---|---|---:|---:|---|"]  # fmt: skip
    lines += [f"| {' | '.join(row)} |" for row in cells(summary)]
    return "\n".join([*lines, "", NOTE, ""])


def csv(summary: Summary) -> str:
    """One line per doubling and metric, numbers in full."""
    return csv_text(
        COLUMNS, ([getattr(one, name) for name in COLUMNS] for one in summary.step_response)
    )
