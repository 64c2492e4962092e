"""Published numbers beside this run's, and whether the protocols match.

If protocols differ, only directions of differences can be compared; if they match, values can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from bench.report.pairs import ALPHA
from bench.results.summary import Comparison, MetricValue, Summary
from hypersd.package_data import packaged

FOLDER = packaged("bench", "reports") / "published"
NOT_SAID = "not said"


@dataclass(frozen=True)
class Table:
    """One published table: `values[contestant name][metric]`, all made by one protocol.

    values: in this project's units; units: factors of the printed numbers. conditions: base,
    prompts, n, size as the paper states them (None: it does not). networks: by metric, a part of
    the identity that the metric has here (None: not stated). rounding: by metric, half a unit of
    the last printed figure, in our units.
    """

    source: str
    place: str
    protocol: str
    values: Mapping[str, Mapping[str, float]]
    units: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    networks: Mapping[str, str | None] = field(default_factory=dict)
    rounding: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """A difference a - b that a paper prints, and the same one here.

    verdict: "same direction", "opposite direction", or "undecided here" (adjusted p >= 0.05).
    differs: parts of the protocol that differ here. unsaid: parts that the paper does not state.
    """

    ours: Comparison
    theirs_a: float
    theirs_b: float
    table: Table
    verdict: str
    differs: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()

    @property
    def theirs(self) -> float:
        """The published difference, in our unit."""
        return self.theirs_a - self.theirs_b

    @property
    def protocol(self) -> str:
        """Whether protocols match, in words."""
        return _in_words(self.differs, self.unsaid)


@dataclass(frozen=True)
class Value:
    """A contestant's value here and in a paper, on the same base."""

    contestant: str
    metric: str
    ours: MetricValue
    theirs: float
    table: Table
    differs: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()

    @property
    def difference(self) -> float:
        """Ours - theirs, in our unit."""
        return self.ours.value - self.theirs

    @property
    def protocol(self) -> str:
        """Whether protocols match, in words."""
        return _in_words(self.differs, self.unsaid)


def _in_words(differs: tuple[str, ...], unsaid: tuple[str, ...]) -> str:
    if differs:
        return f"differs: {', '.join(differs)}"
    if unsaid:
        return f"same protocol as far as the paper states it; unstated: {', '.join(unsaid)}"
    return "matches"


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
    columns, units = entry["metrics"], entry.get("units", {})
    values = {
        name: {
            m: float(v) * units.get(m, 1)
            for m, v in zip(columns, row, strict=True)
            if v is not None
        }
        for name, row in entry["rows"].items()
    }
    columns_of = dict(zip(columns, zip(*entry["rows"].values(), strict=True), strict=True))
    rounding = {m: units.get(m, 1) * _half_a_unit(column) for m, column in columns_of.items()}
    return Table(
        source, str(entry["place"]), str(entry["protocol"]), values, units,
        entry.get("conditions", {}), entry.get("networks", {}), rounding,
    )  # fmt: skip


def _half_a_unit(column: Iterable[float | None]) -> float:
    """Half a unit of the last printed figure of a column (YAML drops zeros at the end)."""
    decimals = [len(str(value).partition(".")[2]) for value in column if value is not None]
    return 0.5 * 10.0 ** -max(decimals, default=0)


def beside(summary: Summary, known: Iterable[Table] | None = None) -> list[Beside]:
    """Every comparison of this run that some paper makes too; those of the same protocol first."""
    found = []
    for table in tables() if known is None else known:
        for row in summary.comparisons:
            a, b = table.values.get(row.a, {}), table.values.get(row.b, {})
            if row.metric in a and row.metric in b and a[row.metric] != b[row.metric]:
                found.append(_beside(summary, row, table, a[row.metric], b[row.metric]))
    return sorted(found, key=lambda one: len(one.differs) > 0)


def values(summary: Summary, known: Iterable[Table] | None = None) -> list[Value]:
    """Every value of this run that some paper prints of the same contestant on the same base; those
    of our protocol first."""
    base, found = summary.conditions.get("base"), []
    for table in tables() if known is None else known:
        if not _same("base", base, table.conditions.get("base")):
            continue
        for one in summary.contestants:
            theirs = table.values.get(one.name, {})
            for metric in (m for m in one.metrics if m in theirs):
                protocol = compared(summary, table, metric, one.name)
                value = one.metrics[metric]
                found.append(Value(one.name, metric, value, theirs[metric], table, *protocol))
    return sorted(found, key=lambda one: len(one.differs) > 0)


def _beside(summary: Summary, row: Comparison, table: Table, a: float, b: float) -> Beside:
    verdict = _verdict(row, a - b)
    differs, unsaid = compared(summary, table, row.metric, row.a)
    return Beside(row, a, b, table, verdict, differs, unsaid)


def _verdict(row: Comparison, theirs: float) -> str:
    if row.p_adjusted >= ALPHA:
        return "undecided here"
    return "same direction" if (row.delta > 0) == (theirs > 0) else "opposite direction"


def compared(
    summary: Summary, table: Table, metric: str, contestant: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(parts of a table's protocol that differ here, parts that its paper does not state).

    A run that recorded no conditions (of an older version) differs in all of them.
    """
    differs, unsaid = [], []
    ours = {**summary.conditions}
    ours["size"] = ours.get("sizes", {}).get(contestant, ours.get("size"))
    for name in ("base", "prompts", "n", "size"):
        theirs = table.conditions.get(name)
        if theirs is None:
            unsaid.append(name)
        elif not _same(name, ours.get(name), theirs):
            differs.append(f"{name} ({ours.get(name) or NOT_SAID} / {theirs})")
    network = table.networks.get(metric)
    if network is None:
        unsaid.append("network")
    elif network not in _identity(summary, metric, contestant):
        differs.append("network")
    return tuple(differs), tuple(unsaid)


def _same(name: str, ours: Any, theirs: Any) -> bool:
    """A base is known by the name of its repository, whoever hosts it; all else is equal."""
    if name == "base":
        return str(ours).split("@")[0].rstrip("/").endswith(f"/{theirs}")
    return bool(ours == theirs)


def _identity(summary: Summary, metric: str, contestant: str) -> str:
    rows = {c.name: c for c in summary.contestants}
    value: MetricValue | None = None
    if contestant in rows:
        value = rows[contestant].metrics.get(metric)
    return "" if value is None else value.identity
