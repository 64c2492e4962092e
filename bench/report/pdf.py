"""A Summary and its run folder -> a PDF for papers: typst sets it, with the page's figures.

All words reach typst as JSON strings, so that nothing in them is markup.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.report import (
    banners,
    charts,
    figures,
    held_against,
    pairs,
    plates,
    published,
    speed,
    step_response,
    study_charts,
    view,
)
from bench.report.charts import Chart, Charts
from bench.report.drawing import palette
from bench.report.findings import findings
from bench.report.pairs import Sentences
from bench.report.runfiles import RunFiles, read
from bench.report.words import decimals, enough_words, metric_words
from bench.results.summary import Claim, Comparison, Summary
from bench.statistics.printed import number, p_words
from bench.study import sections
from hypersd.whole_files import written_whole

TEMPLATES = Path(__file__).parent / "templates"
COMPARISONS_MOST, SENTENCES_MOST, LEDGER_MOST = 240, 60, 40


def render(
    summary: Summary, out: Path, files: RunFiles | None = None, drawn: Charts | None = None
) -> Path:
    """Write out/report.pdf; returns its path. The file is whole or not there.

    drawn: its figures, where they are drawn.

    Raises OSError where it cannot be written, UsageError where typst refuses.
    """
    files = files or read(summary, out)
    path = out / "report.pdf"
    with written_whole(path) as beside, tempfile.TemporaryDirectory(prefix="report-") as scratch:
        beside.write_bytes(_typeset(summary, files, drawn, Path(scratch)))
    return path


def _typeset(summary: Summary, files: RunFiles, drawn: Charts | None, scratch: Path) -> bytes:
    import typst

    content = _content(summary, files, drawn or charts.draw(summary), scratch)
    (scratch / "data.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    for template in TEMPLATES.glob("*.typ"):
        shutil.copyfile(template, scratch / template.name)
    try:
        made = typst.compile(scratch / "report.typ", root=scratch, format="pdf")
    except typst.TypstError as error:
        raise UsageError(f"report.pdf: {error.message}") from None
    assert isinstance(made, bytes)
    return made


def _content(summary: Summary, files: RunFiles, drawn: Charts, scratch: Path) -> dict[str, Any]:
    """Everything the template prints, as words; pictures and figures go into `scratch`."""
    metrics = summary.metric_names()
    n = max((c.n for c in summary.contestants), default=0)
    made, papers = findings(summary), held_against.papers(summary)
    return {
        "title": summary.title or summary.suite,
        "about": _about(summary, n),
        "limit": summary.limit,
        "banners": [
            {**asdict(one), "is_long": one.is_long} for one in banners.banners(summary, files)
        ],
        "findings": [
            {"heading": f.heading if len(made) > 1 else "", "sentence": f.sentence,
             "pairs": _by_family(f.pairs)}
            for f in made
        ],
        "family": len(summary.comparisons),
        "adjusted": view.family_words(summary),
        "equivalent": _by_family(pairs.equivalent(summary)),
        "sensitivities": view.sensitivities(summary),
        "step_sentences": step_response.sentences(summary),
        "step_heads": list(step_response.HEADS),
        "step_rows": step_response.cells(summary),
        "step_note": step_response.NOTE,
        "claims": _claims(summary, view.claims(summary)[0]),
        "open_claims": _claims(summary, view.claims(summary)[1]),
        "claim_counts": view.claim_counts(summary),
        "metrics": [_metric(summary, m) for m in metrics],
        "groups": _groups(summary),
        "marks": sorted(view.marks(summary)),
        "enough": enough_words(summary),
        "seconds": speed.notes(summary),
        "first": _first(summary, drawn, scratch),
        "figures": _figures(summary, drawn, scratch),
        "legend": [[m, palette()[style]] for m, style in figures.colours(summary)],
        "wins": [_wins(w) for m in metrics if (w := figures.wins(summary, files, m)) is not None],
        "not_kept": list(files.not_kept),
        "plates": [asdict(one) for one in plates.plates(summary, files, scratch)],
        "strip": plates.EXTREMES,
        "extremes": plates.extremes(summary, files, scratch),
        "attributes": _attributes(summary),
        "published": [_beside(summary, row) for row in papers.differences],
        "published_values": [_value(summary, row) for row in papers.values],
        "published_others": papers.others,
        "study": _study(files, scratch),
        "comparisons": [_comparison(summary, r) for r in summary.comparisons[:COMPARISONS_MOST]],
        "environment": [*view.flat(summary.environment), *_seconds(summary)],
        "ledger": view.ledger_lines(summary, files)[:LEDGER_MOST],
        "counts": [[name, *cells] for name, cells in view.ledger_counts(summary, files)],
        "counted": list(view.COUNTED.values()),
    }  # fmt: skip


def _claims(summary: Summary, claims: Sequence[Claim]) -> list[dict[str, Any]]:
    return [
        {**asdict(c), "words": c.words, "numbers": view.claim_numbers(summary, c)} for c in claims
    ]


def _study(files: RunFiles, scratch: Path) -> dict[str, Any] | None:
    """The study's texts, and the files of its figures."""
    if files.study is None:
        return None
    content = sections.content(files.study)
    for place, (panel, made) in enumerate(zip(files.study.panels, content["panels"], strict=True)):
        made["bars"] = [
            _drawn(svg, f"preferences-{place}-{part}", scratch)
            for part, svg in enumerate(study_charts.preferences(panel))
        ]
        ladder = study_charts.strengths(panel)
        made["ladder"] = None if ladder is None else _drawn(ladder, f"strengths-{place}", scratch)
    return content


def _drawn(svg: str, name: str, scratch: Path) -> str:
    """The file name of a figure in `scratch`."""
    (scratch / f"{name}.svg").write_text(svg, encoding="utf-8")
    return f"{name}.svg"


def _about(summary: Summary, n: int) -> str:
    seeds = sorted({seed for c in summary.contestants for seed in c.seeds})
    words = f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"
    return (
        f"suite {summary.suite} \u00b7 {n:,} images per contestant \u00b7 {words} \u00b7 "
        f"protocol {summary.protocol[:12]}"
    )


def _metric(summary: Summary, metric: str) -> dict[str, str]:
    value = view.any_value(summary, metric)
    words = metric_words(metric)
    arrow = "\u2191" if value.higher_is_better else "\u2193"
    return {"title": words.title, "arrow": arrow, "asks": words.asks, "covers": value.covers,
            "identity": value.identity}  # fmt: skip


def _by_family(sentences: Sentences) -> dict[str, Any]:
    """Sentences of an appendix, and how many of each kind are left out."""
    kinds = {"asked": sentences.asked, "exploratory": sentences.exploratory}
    return {
        **{kind: found[:SENTENCES_MOST] for kind, found in kinds.items()},
        "left_out": sum(max(0, len(found) - SENTENCES_MOST) for found in kinds.values()),
    }


def _placed(summary: Summary, kind: str, chart: Chart, scratch: Path) -> dict[str, str]:
    """Its metric's title and arrow, and its file in `scratch`."""
    return {**_metric(summary, chart.metric),
            "file": _drawn(chart.svg, f"{kind}-{chart.metric}", scratch)}  # fmt: skip


def _first(summary: Summary, drawn: Charts, scratch: Path) -> dict[str, Any] | None:
    """The figure of the first page; whether it needs a legend."""
    found = charts.first(summary, drawn)
    if found is None:
        return None
    legend = found not in drawn.intervals
    return {**_placed(summary, "first", found, scratch), "legend": legend}


def _figures(summary: Summary, drawn: Charts, scratch: Path) -> dict[str, list[dict[str, str]]]:
    """By kind: for every chart its metric's title and arrow, and its file in `scratch`."""
    kinds = {"intervals": drawn.intervals, "steps": drawn.steps, "speed": drawn.speed}
    return {
        kind: [_placed(summary, kind, chart, scratch) for chart in found]
        for kind, found in kinds.items()
    }


def _groups(summary: Summary) -> list[dict[str, Any]]:
    return [
        {
            "heading": heading,
            "rows": [
                {
                    "name": row.contestant.name + "*" * row.contestant.precomputed,
                    "quiet": row.contestant.is_anchor,
                    "cells": [None if cell is None else asdict(cell) for cell in row.cells],
                    "ms": row.milliseconds or "\u2013",
                }
                for row in rows
            ],
        }
        for heading, rows in view.table(summary)
    ]


def _wins(wins: figures.WinMatrix) -> dict[str, Any]:
    cells = [
        [None if rate != rate else [round(100 * rate), decided]
         for rate, decided in zip(row.tolist(), decisions, strict=True)]
        for row, decisions in zip(wins.rates, wins.decided, strict=True)
    ]  # fmt: skip
    return {"title": metric_words(wins.metric).title, "names": wins.names, "cells": cells}


def _attributes(summary: Summary) -> dict[str, Any] | None:
    names, rows = view.attributes(summary)
    if not names:
        return None
    whole = view.ATTRIBUTES
    lines = [[c.name, number(c.metrics[whole].value, 3), *shares] for c, shares in rows]
    return {"names": ["contestant", "whole picture", *names], "rows": lines}


def _beside(summary: Summary, row: published.Beside) -> list[str]:
    places = decimals(summary, row.ours.metric) + 1
    low, high = number(row.ours.low, places), number(row.ours.high, places)
    return [
        f"{row.ours.a} \u2212 {row.ours.b}",
        metric_words(row.ours.metric).title,
        number(row.theirs, 3),
        f"{number(row.ours.delta, places)} [{low}, {high}]",
        row.verdict,
        f"{row.table.source.split(',')[0]}, {row.table.place}: {row.protocol}",
    ]


def _value(summary: Summary, row: published.Value) -> list[str]:
    places = decimals(summary, row.metric) + 1
    numbers = (row.ours.value, row.theirs, row.difference)
    source = f"{row.table.source.split(',')[0]}, {row.table.place}: {row.protocol}"
    title = metric_words(row.metric).title
    return [row.contestant, title, *(number(value, places) for value in numbers), source]


def _comparison(summary: Summary, row: Comparison) -> list[str]:
    places = decimals(summary, row.metric) + 1
    low, high = number(row.low, places), number(row.high, places)
    return [
        f"{row.a} \u2212 {row.b}",
        metric_words(row.metric).title,
        f"{number(row.delta, places)} [{low}, {high}]",
        p_words(row.p_adjusted),
        "\u2013" if row.win_rate is None else f"{100 * row.win_rate:.1f} %",
    ]


def _seconds(summary: Summary) -> Sequence[tuple[str, str]]:
    return [(f"seconds to {stage}", number(s, 1)) for stage, s in summary.seconds.items()]
