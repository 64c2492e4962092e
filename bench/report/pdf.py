"""A Summary and its run folder -> a PDF for papers: typst sets it, with the page's figures.

All words reach typst as JSON strings, so that nothing in them is markup.
"""

from __future__ import annotations

import io
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
    gallery,
    published,
    selection,
    study_charts,
    view,
)
from bench.report.charts import Chart, Charts
from bench.report.drawing import palette
from bench.report.findings import findings
from bench.report.runfiles import RunFiles, read
from bench.report.words import decimals, enough_words, metric_words
from bench.results.summary import Comparison, Summary
from bench.statistics.printed import number, p_words
from bench.study import sections
from hypersd.whole_files import written_whole

TEMPLATES = Path(__file__).parent / "templates"
PLATE_PROMPTS, PLATE_COLUMNS, PAIRS, EXTREMES = 6, 8, 4, 6
COMPARISONS_MOST, SENTENCES_MOST, LEDGER_MOST = 240, 60, 40
PICTURE = 384  # pixels; a larger picture is made smaller


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
    made = findings(summary)
    return {
        "title": summary.title or summary.suite,
        "about": _about(summary, n),
        "limit": summary.limit,
        "banners": [asdict(one) for one in banners.banners(summary, files)],
        "findings": [
            {"heading": f.heading if len(made) > 1 else "", "lead": f.lead,
             "sentences": f.sentences[:SENTENCES_MOST]}
            for f in made
        ],
        "family": len(summary.comparisons),
        "adjusted": view.family_words(summary),
        "equivalent": view.equivalence_words(summary)[:SENTENCES_MOST],
        "sensitivities": view.sensitivities(summary),
        "claims": [
            {**asdict(c), "words": c.words, "numbers": view.claim_numbers(summary, c)}
            for c in summary.claims
        ],
        "metrics": [_metric(summary, m) for m in metrics],
        "groups": _groups(summary),
        "marks": sorted(view.marks(summary)),
        "enough": enough_words(summary),
        "figures": _figures(summary, drawn, scratch),
        "legend": [[m, palette()[style]] for m, style in figures.colours(summary)],
        "wins": [_wins(w) for m in metrics if (w := figures.wins(summary, files, m)) is not None],
        "not_kept": list(files.not_kept),
        "plates": _plates(summary, files, scratch),
        "strip": EXTREMES,
        "extremes": _extremes(summary, files, scratch),
        "attributes": _attributes(summary),
        "published": [_beside(summary, row) for row in published.beside(summary)],
        "published_values": [_value(summary, row) for row in published.values(summary)],
        "study": _study(files, scratch),
        "comparisons": [_comparison(summary, r) for r in summary.comparisons[:COMPARISONS_MOST]],
        "environment": [*view.flat(summary.environment), *_seconds(summary)],
        "ledger": view.ledger_lines(summary, files)[:LEDGER_MOST],
        "counts": [[name, *cells] for name, cells in view.ledger_counts(summary, files)],
        "counted": list(view.COUNTED.values()),
    }  # fmt: skip


def _study(files: RunFiles, scratch: Path) -> dict[str, Any] | None:
    """What there is to say of the study, and the files of its figures."""
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


def _figures(summary: Summary, drawn: Charts, scratch: Path) -> dict[str, list[dict[str, str]]]:
    """By kind: for every chart its metric's title and arrow, and its file in `scratch`."""

    def placed(kind: str, chart: Chart) -> dict[str, str]:
        name = _drawn(chart.svg, f"{kind}-{chart.metric}", scratch)
        return {**_metric(summary, chart.metric), "file": name}

    kinds = {"intervals": drawn.intervals, "steps": drawn.steps, "speed": drawn.speed}
    return {kind: [placed(kind, chart) for chart in found] for kind, found in kinds.items()}


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


def _plates(summary: Summary, files: RunFiles, scratch: Path) -> list[dict[str, Any]]:
    """Random prompts by contestants, at most eight contestants on a plate."""
    shown = [c.name for c in gallery.contestants(summary, files)]
    chosen = selection.shuffled(files)[:PLATE_PROMPTS]
    return [
        {
            "names": part,
            "rows": [
                [files.text(p), [_picture(files, name, p, scratch) for name in part]]
                for p in chosen
            ],
        }
        for part in (shown[i : i + PLATE_COLUMNS] for i in range(0, len(shown), PLATE_COLUMNS))
    ]


def _extremes(summary: Summary, files: RunFiles, scratch: Path) -> list[dict[str, Any]]:
    """Where a gains most and loses most against b, for the first compared pairs."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for choice in selection.choices(summary, files) if files.pictures else []:
        if choice.reason in ("gains", "losses"):
            pair = (choice.a, choice.b)
            usable = [
                p for p in choice.prompts
                if all(p in files.pictures.get(name, {}) for name in pair)
            ][:EXTREMES]  # fmt: skip
            entry = found.setdefault(
                pair, {"a": pair[0], "b": pair[1], "metric": metric_words(choice.metric).title}
            )
            entry[choice.reason] = [
                [*(_picture(files, name, p, scratch) for name in pair), files.text(p)]
                for p in usable
            ]
    whole = [e for e in found.values() if e.get("gains") or e.get("losses")]
    return [{"gains": [], "losses": [], **entry} for entry in whole[:PAIRS]]


def _picture(files: RunFiles, name: str, prompt: int, scratch: Path) -> str | None:
    """The file name of a picture in `scratch`; None where it is missing or unreadable."""
    source = files.pictures.get(name, {}).get(prompt)
    if source is None:
        return None
    from hypersd.picture_reader import read

    target = scratch / f"picture-{list(files.pictures).index(name)}-{prompt}"
    try:
        small = read(source).image
    except UsageError:
        return None
    small.thumbnail((PICTURE, PICTURE))
    kind, suffix = ("PNG", ".png") if max(small.size) <= 128 else ("JPEG", ".jpg")
    data = io.BytesIO()
    small.save(data, kind, quality=88)
    target.with_suffix(suffix).write_bytes(data.getvalue())
    return target.with_suffix(suffix).name


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
