"""A Summary and its run folder -> one HTML file that opens anywhere, offline.

Styles, script, figures and thumbnails are inside; the page's own security policy forbids any
request, and any script but its own. Every text is escaped: by the template engine, or as JSON.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.report import (
    banners,
    charts,
    figures,
    gallery,
    held_against,
    pairs,
    selection,
    speed,
    step_response,
    study_charts,
    view,
)
from bench.report.charts import Charts
from bench.report.drawing import on_page
from bench.report.findings import findings
from bench.report.runfiles import RunFiles, read
from bench.report.words import decimals, enough_words, listed, metric_words
from bench.results.summary import Summary
from bench.statistics.printed import number, p_words
from bench.study import words
from hypersd.whole_files import written_whole

TEMPLATES = Path(__file__).parent / "templates"
MOST_BYTES = 14_500_000
PICTURES_MOST = 9_000_000
COMPARISONS_MOST = 1_500  # rows of the long table; all of them are in tables/comparisons.csv


def render(
    summary: Summary, out: Path, files: RunFiles | None = None, drawn: Charts | None = None
) -> Path:
    """Write out/report.html from the Summary and the run folder `out`; returns its path.

    files: of another folder, or of several.  drawn: its figures, where they are drawn.  The page
    is whole or not there.  Raises OSError where the folder cannot be written.
    """
    path = out / "report.html"
    with written_whole(path) as beside:
        beside.write_text(page(summary, out, files, drawn), encoding="utf-8")
    return path


def page(
    summary: Summary,
    run: Path,
    files: RunFiles | None = None,
    drawn: Charts | None = None,
    most: int = MOST_BYTES,
) -> str:
    """The page's HTML, at most `most` bytes of it: with as many thumbnails as that allows."""
    files = files or read(summary, run)
    template = _engine().get_template("report.html.j2")
    chosen = selection.ordered(selection.choices(summary, files)) if files.pictures else []
    thumbs = gallery.thumbnails(files, chosen, PICTURES_MOST)
    known = {"study": files.study}
    files = replace(files, notes=[*files.notes, *thumbs.damaged])
    known |= _view(summary, files, drawn or charts.draw(summary))
    while True:
        text = template.render(known, **_pictures(summary, files, thumbs))
        over = len(text.encode()) - most
        if over <= 0 or not thumbs.cells:
            return text
        thumbs = thumbs.within(max(0, thumbs.size - over - 10_000))


def engine_of_templates() -> Environment:
    """The pages' template engine: text is escaped, an unknown name is an error."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _engine() -> Environment:
    engine = engine_of_templates()
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    engine.globals.update(
        metric_words=metric_words, enough_words=enough_words, number=number,
        p_words=p_words, listed=listed, claim_numbers=view.claim_numbers, study_words=words,
        study_charts=study_charts,
        on_page=on_page, milliseconds=figures.milliseconds,
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script), script_digest=digest,
    )  # fmt: skip
    return engine


def _pictures(summary: Summary, files: RunFiles, thumbs: gallery.Thumbnails) -> dict[str, Any]:
    return {
        "gallery": gallery.data(summary, files, thumbs),
        "not_kept": files.not_kept,
        "fallback": gallery.fallback(summary, files, thumbs),
    }


def _view(summary: Summary, files: RunFiles, drawn: Charts) -> dict[str, Any]:
    """All data of the template except pictures; it only loops and prints."""
    metrics = summary.metric_names()
    return {
        "summary": summary,
        "metrics": metrics,
        "higher": {m: view.any_value(summary, m).higher_is_better for m in metrics},
        "values": {m: view.any_value(summary, m) for m in metrics},
        "places": {m: decimals(summary, m) for m in metrics},
        "findings": findings(summary),
        "equivalent": pairs.equivalent(summary),
        "first": charts.first(summary, drawn),
        "sensitivities": view.sensitivities(summary),
        "step_sentences": step_response.sentences(summary),
        "step_heads": step_response.HEADS,
        "step_rows": step_response.cells(summary),
        "step_note": step_response.NOTE,
        "claim_counts": view.claim_counts(summary),
        "decided": view.claims(summary)[0],
        "undecided": view.claims(summary)[1],
        "family_words": view.family_words(summary),
        "groups": view.table(summary),
        "marks": view.marks(summary),
        "speed_notes": speed.notes(summary),
        "charts": drawn,
        "fronts": _fronts(summary),
        "colours": figures.colours(summary),
        "wins": [w for m in metrics if (w := figures.wins(summary, files, m)) is not None],
        "attributes": view.attributes(summary),
        "banners": banners.banners(summary, files),
        "banner_columns": banners.COLUMNS,
        "papers": (papers := held_against.papers(summary)),
        "has_papers": bool(papers.values or papers.differences or papers.others),
        "comparisons": summary.comparisons[:COMPARISONS_MOST],
        "environment": list(view.flat(summary.environment)),
        "ledger": view.ledger_lines(summary, files),
        "counts": view.ledger_counts(summary, files),
        "counted": list(view.COUNTED.values()),
        "n": max((c.n for c in summary.contestants), default=0),
        "seeds": sorted({seed for c in summary.contestants for seed in c.seeds}),
        "title": summary.title or summary.suite,
    }


def _fronts(summary: Summary) -> list[tuple[str, str]]:
    """(metric title, names on the Pareto front), for readers who do not see the figure."""
    rows = [(m, figures.timed(summary, m)) for m in figures.asked(summary)]
    return [
        (metric_words(m).title, listed(c.name for c in figures.frontier(found, m)))
        for m, found in rows
        if found
    ]
