"""The ledger in a report: images counted by contestant, and all that failed or was left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.report import view
from bench.report.runfiles import RunFiles
from bench.results.summary import Summary

COUNTS = "by_contestant"  # of `bench.run.finish`
COLUMNS = {
    "images": "images",
    "not_scored": "not scored",
    "dropped": "dropped",
    "missing": "files missing",
    "black": "black",
    "not_finite": "NaN",
    "prompts_cut": "prompts cut",
}


def lines(summary: Summary, files: RunFiles) -> list[tuple[str, str]]:
    """What failed or was left out, by kind, with what is damaged in the run folder."""
    found = view.flat(without_counts(summary.ledger))
    return [*found, *(("run folder", note) for note in files.notes)]


def without_counts(ledger: Mapping[str, Any]) -> dict[str, Any]:
    """A ledger but for the counts by contestant, which have a table of their own."""
    return {kind: value for kind, value in ledger.items() if kind != COUNTS}


def counts(summary: Summary, files: RunFiles) -> list[tuple[str, list[str]]]:
    """(contestant, cells by COLUMNS); empty for results that hold no counts. Pictures that the run
    folder was given and that are gone count as missing."""
    held = summary.ledger.get(COUNTS, {})
    found = []
    for name, of in held.items():
        there = len(files.pictures.get(name, {}))
        known = {**of, "missing": max(0, of.get("pictures", 0) - there)}
        found.append((name, [f"{known.get(column, 0):,}" for column in COLUMNS]))
    return found
