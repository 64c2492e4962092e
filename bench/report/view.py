"""Texts for both page and PDF: rows, notes and lists, ready to print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.report import speed
from bench.report.findings import leader
from bench.report.runfiles import RunFiles
from bench.report.words import decimals, groups, metric_words
from bench.results.summary import (
    Claim,
    Contestant,
    MetricValue,
    OverTrainings,
    Sensitivity,
    Summary,
)
from bench.statistics.printed import number

ATTRIBUTES = "faithful"
MARKS = {"network": "\u2021", "labels": "\u2020", "no": ""}
OPEN = ("not shown", "undecided")  # verdicts on claims that are not decided
VERDICTS = {"holds": "hold", "the opposite is shown": "with the opposite shown",
            "equivalent": "with an equivalence shown", "not shown": "not shown",
            "undecided": "undecided", "does not hold": "do not hold"}  # fmt: skip
SECTIONS_WITHOUT_BEST = ("Teacher", "Anchors")
COUNTS = "by_contestant"  # of `bench.run.finish`
COUNTED = {
    "images": "images",
    "not_scored": "not scored",
    "dropped": "dropped",
    "missing": "files missing",
    "black": "black",
    "not_finite": "NaN",
    "prompts_cut": "prompts cut",
}


@dataclass(frozen=True)
class Cell:
    """One number of the table; mark is a dagger where the metric's network or labels were used.

    trainings: of how many trainings it is the mean, and their range; else empty.
    """

    value: str
    interval: str
    best: bool
    mark: str
    raw: float
    trainings: str = ""


@dataclass(frozen=True)
class TableRow:
    """One contestant of the table; cells follow the metrics."""

    contestant: Contestant
    cells: list[Cell | None]
    milliseconds: str


def table(summary: Summary) -> list[tuple[str, list[TableRow]]]:
    """Headings, each with its rows."""
    return [
        (heading, [_row(summary, heading, members, c) for c in members])
        for heading, members in groups(summary)
    ]


def _row(
    summary: Summary, heading: str, members: list[Contestant], contestant: Contestant
) -> TableRow:
    ranked = [] if heading in SECTIONS_WITHOUT_BEST else members
    cells = [
        _cell(summary, contestant, metric, leader(summary, ranked, metric))
        for metric in summary.metric_names()
    ]
    return TableRow(contestant, cells, speed.in_table(contestant))


def _cell(summary: Summary, contestant: Contestant, metric: str, best: str | None) -> Cell | None:
    if metric not in contestant.metrics:
        return None
    value, places = contestant.metrics[metric], decimals(summary, metric)
    over = summary.over_trainings.get(contestant.name, {}).get(metric)
    raw, low, high = (
        (value.value, value.low, value.high) if over is None else (over.mean, over.low, over.high)
    )
    return Cell(
        number(raw, places),
        f"{number(low, places)} \u2013 {number(high, places)}",
        best == contestant.name,
        MARKS[value.trained_on],
        raw,
        "" if over is None else trainings_words(over, places),
    )


def trainings_words(over: OverTrainings, places: int) -> str:
    """ "3 trainings, 28.5 to 47.9": the range of a row's trainings."""
    lowest, highest = (number(value, places) for value in (min(over.values), max(over.values)))
    return f"{len(over.values)} trainings, {lowest} to {highest}"


def any_value(summary: Summary, metric: str) -> MetricValue:
    """Any contestant's value, for fields that all values of a metric share."""
    return next(c.metrics[metric] for c in summary.contestants if metric in c.metrics)


def marks(summary: Summary) -> set[str]:
    """Which notes below the table are needed: labels, network, precomputed."""
    found = {m.trained_on for c in summary.contestants for m in c.metrics.values()} - {"no"}
    shipped = {"precomputed"} if any(c.precomputed for c in summary.contestants) else set()
    return {str(mark) for mark in found} | shipped


def attributes(summary: Summary) -> tuple[list[str], list[tuple[Contestant, list[str]]]]:
    """(attribute names, rows of shares) of the metric that has a breakdown."""
    rows = [
        (c, c.metrics[ATTRIBUTES].parts)
        for _, members in groups(summary)
        for c in members
        if ATTRIBUTES in c.metrics and c.metrics[ATTRIBUTES].parts
    ]
    names = list(dict.fromkeys(name for _, parts in rows for name in parts))
    return names, [
        (c, [number(parts[n], 3) if n in parts else "" for n in names]) for c, parts in rows
    ]


def sensitivities(summary: Summary) -> list[tuple[str, str]]:
    """(metric, sentence): how small a difference could have been found, and what it would take, as
    one of the tests that are adjusted together; alone in results that do not say of how many."""
    return [
        (metric_words(metric).title, _could_find(known, decimals(summary, metric) + 1))
        for metric, known in summary.sensitivity.items()
    ]


def _could_find(known: Sensitivity, places: int) -> str:
    found, needed, among = known.detectable, known.prompts_needed, ""
    if known.detectable_adjusted is not None and known.tests > 1:
        found, needed = known.detectable_adjusted, known.prompts_needed_adjusted
        alone = number(known.detectable, places)
        among = f" as one of {known.tests:,} comparisons ({alone} as the only one)"
    text = (
        f"a true difference of {number(found, places)} would have been found with 80 % "
        f"probability at {known.prompts:,} prompts{among}"
    )
    if known.margin is not None:
        text += f"; the smallest that matters is {known.margin:.3g}"
        if needed is not None:
            text += f", which would take {needed:,} prompts"
    return text


def claims(summary: Summary) -> tuple[list[Claim], list[Claim]]:
    """(the claims that are decided either way, the others)."""
    decided = [c for c in summary.claims if c.verdict not in OPEN]
    return decided, [c for c in summary.claims if c.verdict in OPEN]


def claim_counts(summary: Summary) -> str:
    """ "Of 12 claims: 5 hold, 7 undecided."; "" without claims."""
    found = Counter(claim.verdict for claim in summary.claims)
    said = [f"{count} {VERDICTS[verdict]}" for verdict, count in found.items()]
    all_of = f"{len(summary.claims)} claim{'s' * (len(summary.claims) > 1)}"
    return f"Of {all_of}: {', '.join(said)}." if said else ""


def claim_numbers(summary: Summary, claim: Claim) -> str:
    """A claim's difference, interval and the p of its verdict, where they are known; else ""."""
    if claim.delta is None or claim.low is None or claim.high is None:
        return ""
    places = decimals(summary, claim.metric) + 1 if claim.metric else 3
    delta, low, high = (number(v, places) for v in (claim.delta, claim.low, claim.high))
    text = f"difference {delta} [{low}, {high}]"
    shown = {
        "the opposite is shown": claim.p_opposite_adjusted,
        "equivalent": claim.p_equivalent_adjusted,
    }
    p = shown.get(claim.verdict, claim.p_adjusted)
    return text if p is None else f"{text}, adjusted p {p:.3g}"


def flat(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested mappings as ("versions torch", "2.11") lines; empty values are left out."""
    for key, value in values.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(value, dict):
            yield from flat(value, name)
        elif isinstance(value, list):
            if value:
                yield name, "\n".join(str(v) for v in value)
        elif value not in (None, ""):
            yield name, str(value)


def ledger_lines(summary: Summary, files: RunFiles) -> list[tuple[str, str]]:
    """Lines on failures and omissions, by kind, with the damage in the run folder."""
    found = flat(without_counts(summary.ledger))
    return [*found, *(("run folder", note) for note in files.notes)]


def without_counts(ledger: Mapping[str, Any]) -> dict[str, Any]:
    """A ledger without the counts by contestant, which have a table of their own."""
    return {kind: value for kind, value in ledger.items() if kind != COUNTS}


def ledger_counts(summary: Summary, files: RunFiles) -> list[tuple[str, list[str]]]:
    """(contestant, cells by COUNTED); empty for results that hold no counts. Pictures that the run
    folder was given and that are gone count as missing."""
    held = summary.ledger.get(COUNTS, {})
    found = []
    for name, of in held.items():
        there = len(files.pictures.get(name, {}))
        known = {**of, "missing": max(0, of.get("pictures", 0) - there)}
        found.append((name, [f"{known.get(column, 0):,}" for column in COUNTED]))
    return found


def family_words(summary: Summary) -> str:
    """How many comparisons are adjusted together, and how, for the note below the findings."""
    rest = sum(row.family == "exploratory" for row in summary.comparisons)
    primary = len(summary.comparisons) - rest
    if not rest:
        return f"after Holm\u2019s correction over all {primary:,} comparisons of this run"
    return (
        f"after Holm\u2019s correction over the {primary:,} comparisons that the suite asks for; "
        f"the other {rest:,} are exploratory, with a false discovery rate of 5 %"
    )
