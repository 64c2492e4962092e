"""The papers' own numbers beside ours: directions of differences, since values do not compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.report.findings import ALPHA
from bench.summary import Comparison, Summary

FOLDER = Path(__file__).resolve().parents[2] / "reports" / "published"


@dataclass(frozen=True)
class Table:
    """One published table: values[contestant name][metric], all made by one protocol."""

    source: str
    place: str
    protocol: str
    values: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Beside:
    """A difference a - b that a paper prints, and the same one here.

    verdict: "same direction", "opposite direction", or "undecided here" (adjusted p >= 0.05).
    """

    ours: Comparison
    theirs_a: float
    theirs_b: float
    table: Table
    verdict: str

    @property
    def theirs(self) -> float:
        """The published difference."""
        return self.theirs_a - self.theirs_b


@cache
def tables(folder: Path = FOLDER) -> tuple[Table, ...]:
    """Every table of reports/published/*.yaml; none where the folder is absent."""
    import yaml

    found = []
    for path in sorted(folder.glob("*.yaml")):
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        found += [_table(data["source"], entry) for entry in data["tables"]]
    return tuple(found)


def _table(source: str, entry: Mapping[str, Any]) -> Table:
    columns = entry["metrics"]
    values = {
        name: {m: float(v) for m, v in zip(columns, row, strict=True) if v is not None}
        for name, row in entry["rows"].items()
    }
    return Table(source, str(entry["place"]), str(entry["protocol"]), values)


def beside(summary: Summary, known: Iterable[Table] | None = None) -> list[Beside]:
    """Every comparison of this run that some paper makes too, by metric and name."""
    found = []
    for table in tables() if known is None else known:
        for row in summary.comparisons:
            a, b = table.values.get(row.a, {}), table.values.get(row.b, {})
            if row.metric in a and row.metric in b and a[row.metric] != b[row.metric]:
                theirs = a[row.metric] - b[row.metric]
                verdict = _verdict(row, theirs)
                found.append(Beside(row, a[row.metric], b[row.metric], table, verdict))
    return found


def _verdict(row: Comparison, theirs: float) -> str:
    if row.p_adjusted >= ALPHA:
        return "undecided here"
    return "same direction" if (row.delta > 0) == (theirs > 0) else "opposite direction"
