"""A report in all its forms: page, PDF and tables; `task=report` writes them again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from bench.errors import UsageError
from bench.report import (
    banners,
    charts,
    figure_files,
    html,
    pdf,
    tables,
    terminal,
    together,
    tracking,
)
from bench.report.runfiles import RunFiles, read
from bench.results import summary as summaries
from bench.results.run_folder import RunFolder
from bench.results.summary import Summary
from bench.study import votes_csv
from hypersd import exports
from hypersd.validation import Text


@dataclass(frozen=True)
class Written:
    """Paths of what was written, and the seconds each form took."""

    page: Path
    document: Path
    tables: list[Path]
    seconds: dict[str, float]


@dataclass(frozen=True)
class ReportOptions:
    """mixed_model: add it to the votes of a study. figures: write figures as files, too.
    tracker: one that accelerate knows, which gets the run as well.  leaderboard: a page of the
    histories of many runs, instead of one report of them.
    """

    mixed_model: bool = False
    figures: bool = False
    tracker: Text | None = None
    leaderboard: bool = False

    def checked(self) -> ReportOptions:
        """Itself. Raises UsageError for a tracker that is not here."""
        if self.tracker is not None:
            tracking.check(self.tracker)
        return self


def report(
    run: Path, console: Console, out: Path | None = None, options: ReportOptions = ReportOptions()
) -> Written:
    """Write the report of run folder `run` again, into `out` (default: the folder itself).

    Raises UsageError where the run is not finished, its result.json damaged, or where there are no
    votes for the mixed model.
    """
    found, options = RunFolder(run).summary, options.checked()
    target = out or run
    files = replace(read(found, run, target), mixed_model=options.mixed_model)
    if options.mixed_model and files.study is None:
        raise UsageError(
            f"mixed_model=true: {run} has no votes; a study of it is task=study run={run}"
        )
    _make(target)
    written = write(found, target, console, files)
    _besides(found, target, files, console, options)
    return written


def compare(
    runs: Sequence[Path], console: Console, out: Path | None,
    options: ReportOptions = ReportOptions(),
) -> Written:  # fmt: skip
    """Write one report of several runs of one protocol, into `out`. Raises UsageError."""
    options = options.checked()
    merged, files, target = together.merge([(run, RunFolder(run).summary) for run in runs], out)
    _make(target)
    summaries.write(merged, target / "result.json")
    written = write(merged, target, console, files)
    _besides(merged, target, files, console, options)
    return written


def _make(target: Path) -> None:
    """The folder that a report is written into. Raises UsageError for that of a training."""
    if exports.is_training(target):
        raise UsageError(f"out={target}: holds a training; choose another folder")
    target.mkdir(parents=True, exist_ok=True)


def write(summary: Summary, out: Path, console: Console, files: RunFiles | None = None) -> Written:
    """Write the report in all its forms into `out`; print the table and where everything is."""
    files = files or read(summary, out)
    written = render(summary, out, files)
    console.print(terminal.table(summary))
    _say_what_is_off(summary, files, console)
    for what, path in (("report", written.page), ("pdf", written.document),
                       ("tables", written.tables[0].parent)):  # fmt: skip
        console.print(f"{what}: {path}", highlight=False, soft_wrap=True)
    return written


def _besides(
    summary: Summary, out: Path, files: RunFiles, console: Console, options: ReportOptions
) -> None:
    """What a report is asked for beside its usual forms."""
    if options.figures:
        folder = figure_files.write(summary, out, files)[0].parent
        console.print(f"figures: {folder}", highlight=False, soft_wrap=True)
    if options.tracker is not None:
        said = tracking.track(summary, files, out, options.tracker)
        console.print(f"tracker: {said}", highlight=False, soft_wrap=True)


def early(summary: Summary, out: Path, console: Console) -> None:
    """Write page and tables of a run that is not finished into `out`, marked so; print where."""
    files = read(summary, out)
    page = html.render(summary, out, files)
    tables.write(summary, out)
    done, of = len(summary.contestants), len(summary.contestants) + len(summary.missing)
    console.print(f"report of {done} of {of} rows so far: {page}", highlight=False, soft_wrap=True)
    _say_what_is_off(summary, files, console)


def _say_what_is_off(summary: Summary, files: RunFiles, console: Console) -> None:
    """Print the rows that differ from papers, a line each."""
    for banner in banners.banners(summary, files):
        for line in banner.lines:
            console.print(f"{banner.heading} {line}", highlight=False, soft_wrap=True, markup=False)


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
        listed += votes_csv.write(files.source, out)
    between = time.perf_counter()
    document = pdf.render(summary, out, files, drawn)
    seconds = {"html": then - began, "pdf": time.perf_counter() - between}
    return Written(page, document, listed, {k: round(v, 2) for k, v in seconds.items()})
