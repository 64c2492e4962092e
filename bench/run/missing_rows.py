"""The rows that are missing from a result: left out, or still to be drawn, with their cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bench.results.summary import Contestant, MissingRow
from bench.run.drawing import Drawn
from bench.run.rows_left import Planned
from bench.statistics.comparisons import pairs


def missing_rows(drawn: Drawn, costs: Mapping[str, float]) -> list[MissingRow]:
    """The missing rows in the suite's order. costs: seconds by stage, as far as they are known."""
    plan = replace(drawn.plan, costs=costs)
    faults = {row.name: row.fault for row in plan.rows if row.fault} | drawn.failed
    lacking = [row for row in plan.rows if row.name not in drawn.done]
    to_come = {row.name for row in lacking if row.name not in faults}
    among = [_contestant(row) for row in plan.rows if row.name not in faults]
    partners: dict[str, list[str]] = {name: [] for name in to_come}
    for one, other in _pairs_of(among, to_come):
        partners[one].append(other)
    return [
        _missing(row, faults[row.name])
        if row.name in faults
        else replace(
            _missing(row),
            images=row.images,
            evaluations=row.evaluations,
            seconds=round(plan.seconds_of(row), 1),
            against=partners[row.name],
        )
        for row in lacking
    ]


def _missing(planned: Planned, why: str = "") -> MissingRow:
    row = planned.row
    return MissingRow(row.name, row.settings.method, row.steps, why)


def _pairs_of(among: list[Contestant], names: set[str]) -> Iterator[tuple[str, str]]:
    """Pairs that one of these names is in, that one first."""
    for a, b in pairs(among):
        if a in names:
            yield a, b
        elif b in names:
            yield b, a


def _contestant(planned: Planned) -> Contestant:
    """A contestant with the fields that decide whom it is compared with."""
    row = planned.row
    method = row.settings.method
    return Contestant(row.name, method, row.steps, None, planned.identity, 0, [], "")
