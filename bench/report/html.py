"""A Summary and its run folder -> one HTML file that opens anywhere, offline.

No script, no request: styles, figures and pictures are inside, and the page's own security policy
forbids the rest. Every text is escaped by the template engine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.report import plots, study
from bench.report.findings import findings, leader
from bench.report.pictures import grid
from bench.report.words import decimals, groups, listed, metric_words, number, p_words
from bench.summary import Contestant, Summary

TEMPLATES = Path(__file__).parent / "templates"
LATENCY_METRICS = ("fid", "faithful", "hps")
ATTRIBUTES = "faithful"


@dataclass(frozen=True)
class Cell:
    """One number of the table; mark is a dagger where the metric's network or labels were used."""

    value: str
    interval: str
    best: bool
    mark: str


@dataclass(frozen=True)
class Row:
    """One contestant of the table."""

    contestant: Contestant
    cells: list[Cell | None]
    milliseconds: str


def render(summary: Summary, out: Path) -> Path:
    """Write out/report.html from the Summary and the run folder `out`; returns its path.

    The file is whole or not there. Raises OSError where the folder cannot be written.
    """
    path = out / "report.html"
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_text(page(summary, out), encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def page(summary: Summary, run: Path) -> str:
    """The page's HTML; pictures are read from `run`."""
    engine = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.globals.update(metric_words=metric_words, number=number, p_words=p_words, listed=listed)
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    return engine.get_template("report.html.j2").render(
        _view(summary, run), style=style, study=study.section(run)
    )


def _view(summary: Summary, run: Path) -> dict[str, Any]:
    """All that the template shows; it only loops and prints."""
    metrics = summary.metric_names()
    timed = [m for m in LATENCY_METRICS if m in metrics] or metrics[:3]
    scatters = [(m, plots.latency(summary, m)) for m in timed]
    rivals = dict.fromkeys(c.method for c in summary.contestants if not c.is_anchor)
    return {
        "summary": summary,
        "metrics": metrics,
        "higher": {m: _any_value(summary, m).higher_is_better for m in metrics},
        "values": {m: _any_value(summary, m) for m in metrics},
        "places": {m: decimals(summary, m) for m in metrics},
        "findings": findings(summary),
        "groups": [(h, [_row(summary, m, c) for c in m]) for h, m in groups(summary)],
        "marks": _marks(summary),
        "intervals": [(m, plots.intervals(summary, m)) for m in metrics],
        "latencies": [(m, plot) for m, plot in scatters if plot],
        "colours": [(m, plots.colour_class(summary, m)) for m in rivals],
        "grid": grid(summary, run),
        "attributes": _attributes(summary),
        "environment": list(_flat(summary.environment)),
        "ledger": list(_flat(summary.ledger)),
        "n": max((c.n for c in summary.contestants), default=0),
        "seeds": sorted({seed for c in summary.contestants for seed in c.seeds}),
        "title": summary.title or summary.suite,
    }


def _any_value(summary: Summary, metric: str) -> Any:
    return next(c.metrics[metric] for c in summary.contestants if metric in c.metrics)


def _row(summary: Summary, members: list[Contestant], contestant: Contestant) -> Row:
    ranked = members if not contestant.is_anchor and contestant.method != "teacher" else []
    cells = [
        _cell(summary, contestant, metric, leader(summary, ranked, metric))
        for metric in summary.metric_names()
    ]
    speed = contestant.seconds_per_image
    return Row(contestant, cells, "" if speed is None else f"{1000 * speed.median:.1f}")


def _cell(summary: Summary, contestant: Contestant, metric: str, best: str | None) -> Cell | None:
    if metric not in contestant.metrics:
        return None
    value, places = contestant.metrics[metric], decimals(summary, metric)
    return Cell(
        number(value.value, places),
        f"{number(value.low, places)} \u2013 {number(value.high, places)}",
        best == contestant.name,
        {"network": "‡", "labels": "†", "no": ""}[value.trained_on],
    )


def _marks(summary: Summary) -> set[str]:
    """Which notes below the table are needed."""
    marks = {m.trained_on for c in summary.contestants for m in c.metrics.values()} - {"no"}
    shipped = {"precomputed"} if any(c.precomputed for c in summary.contestants) else set()
    return {str(mark) for mark in marks} | shipped


def _attributes(summary: Summary) -> tuple[list[str], list[tuple[Contestant, list[str]]]]:
    """(attribute names, rows of shares) of the metric that has a breakdown."""
    rows = [
        (c, c.metrics[ATTRIBUTES].parts)
        for _, members in groups(summary)
        for c in members
        if ATTRIBUTES in c.metrics and c.metrics[ATTRIBUTES].parts
    ]
    names = list(dict.fromkeys(name for _, parts in rows for name in parts))
    return names, [
        (c, [number(parts[n], 3) if n in parts else "" for n in names]) for c, parts in rows
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested mappings as ("versions torch", "2.11") lines; empty values are left out."""
    for key, value in values.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(value, dict):
            yield from _flat(value, name)
        elif isinstance(value, list):
            if value:
                yield name, "\n".join(str(v) for v in value)
        elif value not in (None, ""):
            yield name, str(value)
