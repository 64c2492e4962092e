"""All forms of one report: page, PDF and tables."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from bench.report import charts, html, pdf, study_votes, tables
from bench.report.runfiles import RunFiles, read
from bench.results.summary import Summary


@dataclass(frozen=True)
class Written:
    """Paths of what was written, and the seconds each form took."""

    page: Path
    document: Path
    tables: list[Path]
    seconds: dict[str, float]


def render(summary: Summary, out: Path, files: RunFiles | None = None) -> Written:
    """Write report.html, report.pdf and tables/ into `out`, from the Summary and the run's files.

    Each file is whole or as it was before. Raises OSError, UsageError.
    """
    files = files or read(summary, out)
    began = time.perf_counter()
    drawn = charts.draw(summary)
    page = html.render(summary, out, files, drawn)
    then = time.perf_counter()
    listed = tables.write(summary, out)
    if files.source is not None:
        listed += study_votes.write(files.source, out)
    between = time.perf_counter()
    document = pdf.render(summary, out, files, drawn)
    seconds = {"html": then - began, "pdf": time.perf_counter() - between}
    return Written(page, document, listed, {k: round(v, 2) for k, v in seconds.items()})
