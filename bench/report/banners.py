"""Banners above the findings of a report: it is partial, rows are missing, rows differ from
published values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report import held_against
from bench.report.runfiles import RunFiles
from bench.report.words import listed, titles
from bench.results.run_folder import RunFolder
from bench.results.summary import MissingRow, Summary
from bench.statistics.printed import duration


@dataclass(frozen=True)
class Banner:
    """heading, text: in short. lines: one by one. rows: of a table below, under `COLUMNS`.
    is_warning: it qualifies the whole report."""

    heading: str
    text: str
    lines: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    is_warning: bool = True

    @property
    def is_long(self) -> bool:
        """Whether its lines would push what follows off the first screen."""
        return len(self.lines) > LINES_MOST


LINES_MOST = 2
COLUMNS = ("row", "images", "network evaluations", "about", "pairs")


def banners(summary: Summary, files: RunFiles) -> list[Banner]:
    """All banners, the most urgent first."""
    return [
        *_partial(summary), *_left_out(summary), *_answers(summary), *_papers(summary, files),
    ]  # fmt: skip


def partial_words(summary: Summary) -> str:
    """ "9 of 15 rows"; "" where none is still to be drawn."""
    done = len(summary.contestants)
    return f"{done} of {done + len(summary.to_come)} rows" if summary.to_come else ""


def _partial(summary: Summary) -> list[Banner]:
    if not summary.to_come:
        return []
    waiting = sum(len(row.against) for row in summary.to_come)
    claims = " and all claims" if summary.claims else ""
    return [Banner(
        "Partial.",
        f"{partial_words(summary)} are drawn; the run goes on. {waiting:,} pairs{claims} wait "
        "for the rows below. Differences are adjusted for the pairs so far, so some that are shown "
        "here may be gone in the finished report.",
        rows=[_row(row) for row in summary.to_come],
    )]  # fmt: skip


def _row(row: MissingRow) -> list[str]:
    counts = (f"{n:,}" if n else "\u2013" for n in (row.images, row.evaluations))
    return [row.name, *counts, duration(row.seconds), f"{len(row.against):,}"]


def _left_out(summary: Summary) -> list[Banner]:
    rows = summary.left_out
    if not rows:
        return []
    lines = [f"{listed(names)}: {why}" for why, names in _by_reason(rows).items()]
    return [
        Banner("Left out.", f"{len(rows)} row{'s' * (len(rows) != 1)} could not be drawn.", lines)
    ]


def _by_reason(rows: Sequence[MissingRow]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.why, []).append(row.name)
    return found


def _answers(summary: Summary) -> list[Banner]:
    """Whether metrics gave the values that their publishers print of public pictures."""
    lines = [str(line) for line in summary.ledger.get("known_answers", ())]
    off = [line for line in lines if ": deviates (" in line]
    if off:
        text = ("A metric does not give what its publisher prints of the same pictures; its values "
                "here may be of another network, or read pictures otherwise.")  # fmt: skip
        return [Banner("Deviates.", text, off)]
    held = [line.partition(":")[0] for line in lines if ": as published (" in line]
    if not held:
        return []
    names = titles(list(dict.fromkeys(held)))
    text = f"{names}: what publishers print of public pictures, these weights give, too."
    return [Banner("As published.", text, is_warning=False)]


def _papers(summary: Summary, files: RunFiles) -> list[Banner]:
    resolved = {} if files.source is None else RunFolder(files.source).resolved
    found = held_against.verdict(summary, resolved)
    if found is None:
        return []
    is_warning = bool(found.unexpected)
    return [Banner(f"{found.heading}.", found.text, found.unexpected, is_warning=is_warning)]
