"""Compares a run's rows with published values, so that a contestant drawn otherwise than by its
authors (another scheduler, timesteps, weights) is noticed at once.

A published value counts where base, number of steps and the metric's network are ours, and so are
prompts, their number and the pictures' size: the same protocol. Nearly the same is a protocol whose
paper does not state prompts or size, or, for a score (which does not depend on the number of
prompts), used another number. A difference is unexpected where it is larger than

    3 standard errors of it + half of the last printed figure + an allowance

Papers print no intervals: a published value is taken to spread over its prompts as ours does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.report import published
from bench.report.published import Beside, Table, Value
from bench.report.words import decimals, listed, metric_words
from bench.results.summary import MetricValue, Summary
from bench.statistics.printed import number

ERRORS = 3.0  # standard errors: among dozens of values none is larger by chance
ALLOWANCE = {"clip": 1.2, "image_reward": 0.4, "pick": 0.3, "aesthetic": 0.35}
"""By metric, of nearly the same protocol: as far as two papers are apart at most on a row that both
print, by one network as far as they say (`tests/report/test_held_against.py` counts it out)."""
OTHERS = 0.1  # of a published value; a guess: no two papers state the same network there
SAME = 0.5  # of the allowance where the protocol is the same: for other seeds, versions, hardware
ALIKE = 3  # rows from which on "all of them" is meaningful
SETTINGS = ("scheduler", "spacing", "timesteps", "eta", "guidance", "prediction_type",
            "original_steps")  # fmt: skip


@dataclass(frozen=True)
class Held:
    """A row's value beside a published one. tolerance: the largest difference that is expected."""

    value: Value
    tolerance: float

    @property
    def is_off(self) -> bool:
        """Whether the difference is larger."""
        return abs(self.value.difference) > self.tolerance


@dataclass(frozen=True)
class Verdict:
    """The statement on a run beside papers. heading, text: in short. unexpected: a line for each
    row that differs, with the settings to check."""

    heading: str
    text: str
    unexpected: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Papers:
    """Published values of a run's contestants. values, differences: of this protocol, or nearly;
    the others of other protocols, where only directions can be compared."""

    values: list[Value]
    differences: list[Beside]
    other_values: list[Value]
    other_differences: list[Beside]

    @property
    def others(self) -> str:
        """The others in a sentence or two; "" where there are none."""
        return " ".join(filter(None, (self._differences(), self._values())))

    def _differences(self) -> str:
        found = Counter(one.verdict for one in self.other_differences)
        if not found:
            return ""
        return (
            f"Papers print {found.total():,} of the differences between two contestants by other "
            f"protocols, which allow no more than to compare directions: here "
            f"{found['same direction']:,} point the same way, {found['opposite direction']:,} the "
            f"opposite way, {found['undecided here']:,} are undecided."
        )

    def _values(self) -> str:
        count = len(self.other_values)
        what = "values" if count > 1 else "value"
        return f"Of this base they print {count:,} {what} by other protocols." if count else ""


def papers(summary: Summary, known: Iterable[Table] | None = None) -> Papers:
    """Values and differences of this run that papers print too, by whether protocols match."""
    tables = published.tables() if known is None else tuple(known)
    values, beside = published.values(summary, tables), published.beside(summary, tables)
    return Papers(
        [one for one in values if _allowance(one) is not None],
        [one for one in beside if not one.differs],
        [one for one in values if _allowance(one) is None],
        [one for one in beside if one.differs],
    )


def held(summary: Summary, known: Iterable[Table] | None = None) -> list[Held]:
    """Every value of a run that some paper prints by the same protocol, or nearly."""
    found = []
    for value in published.values(summary, known):
        allowance = _allowance(value)
        if allowance is not None:
            rounding = value.table.rounding.get(value.metric, 0.0)
            chance = ERRORS * _error(value.ours, value.table.conditions.get("n"))
            found.append(Held(value, chance + rounding + allowance))
    return found


def _allowance(value: Value) -> float | None:
    """The part of a difference that protocols explain; None if they are too unlike."""
    is_score = value.ours.kind in ("mean", "share")
    differs = {word.partition(" ")[0] for word in value.differs} - ({"n"} if is_score else set())
    if differs or not set(value.unsaid) <= {"prompts", "size"}:
        return None
    found = ALLOWANCE.get(value.metric, OTHERS * abs(value.theirs))
    return found if value.differs or value.unsaid else SAME * found


def _error(ours: MetricValue, theirs: int | None) -> float:
    """Standard error of the difference to a value that was measured on so many images."""
    own = (ours.high - ours.low) / (2 * 1.96) if ours.error is None else ours.error
    return own * math.sqrt(1 + ours.n / (theirs or ours.n))


def verdict(
    summary: Summary, resolved: Mapping[str, Any], known: Iterable[Table] | None = None
) -> Verdict | None:
    """The statement above a run's findings; None if nothing was measured, and for the embedded
    world, of which no paper prints values.

    resolved: the suite as it was run, with the settings that are to be looked at.
    """
    base = str(summary.conditions.get("base", "shapes/"))
    if base.startswith("shapes/") or not summary.metric_names():
        return None
    found = held(summary, known)
    if not found:
        return Verdict("Compared with papers", "No published table has a value of these rows by "
                       "this protocol, or nearly this one.")  # fmt: skip
    papers = listed(dict.fromkeys(one.value.table.source.split(",")[0] for one in found))
    off = [one for one in found if one.is_off]
    if not off:
        text = f"All {len(found)} values that papers print by this protocol agree ({papers})."
        return Verdict("Compared with papers", text)
    return Verdict(
        "Not as published",
        f"{len(off)} of {len(found)} values that papers print by this protocol ({papers}) differ "
        "by more than chance, rounding and the spread among papers explain. Check scheduler, "
        "spacing, timesteps, eta, guidance, prediction_type, precision and weights of these rows "
        "before you read them.",
        [*_rows_alike(summary, found), *_one_by_one(summary, found, resolved)],
    )


def _by_column(found: Sequence[Held]) -> dict[tuple[str, str, str], list[Held]]:
    columns: dict[tuple[str, str, str], list[Held]] = {}
    for one in found:
        table = one.value.table
        columns.setdefault((table.source, table.place, one.value.metric), []).append(one)
    return columns


def _is_alike(column: Sequence[Held]) -> bool:
    """Whether all rows differ in the same direction, which is no fault of one contestant's
    settings."""
    signs = {math.copysign(1, one.value.difference) for one in column}
    return len(column) >= ALIKE and all(one.is_off for one in column) and len(signs) == 1


def _rows_alike(summary: Summary, found: Sequence[Held]) -> list[str]:
    lines = []
    for (source, place, metric), column in _by_column(found).items():
        if _is_alike(column):
            places = decimals(summary, metric)
            apart = sorted(abs(one.value.difference) for one in column)
            way = "above" if column[0].value.difference > 0 else "below"
            lines.append(
                f"{metric_words(metric).title}: all {len(column)} rows are {way} "
                f"{source.split(',')[0]}, {place}, by {number(apart[0], places)} to "
                f"{number(apart[-1], places)}: probably its prompts, its network or the "
                "precision, not the settings of one row"
            )
    return lines


def _one_by_one(summary: Summary, found: Sequence[Held], resolved: Mapping[str, Any]) -> list[str]:
    own = [one for column in _by_column(found).values() if not _is_alike(column)
           for one in column if one.is_off]  # fmt: skip
    lines = []
    for name in dict.fromkeys(one.value.contestant for one in own):
        said = "; ".join(_beside(summary, one) for one in own if one.value.contestant == name)
        lines.append(f"{name}: {said}. {_settings(name, resolved)}")
    return lines


def _beside(summary: Summary, one: Held) -> str:
    value, places = one.value, decimals(summary, one.value.metric)
    source = f"{value.table.source.split(',')[0]}, {value.table.place}"
    return (
        f"{metric_words(value.metric).title} is {number(value.ours.value, places)} here, "
        f"{number(value.theirs, places)} in {source} (at most {number(one.tolerance, places)} "
        f"apart is expected; {_protocol(value)})"
    )


def _protocol(value: Value) -> str:
    return "same protocol" if value.protocol == "matches" else value.protocol


def _settings(name: str, resolved: Mapping[str, Any]) -> str:
    """The settings of a row, if the run folder has them."""
    for given in resolved.get("contestants", []):
        if name in [f"{given['key']}-{steps}step" for steps in given["steps"]]:
            sampling = given["sampling"]
            said = [f"{key}={sampling[key]}" for key in SETTINGS if sampling.get(key) is not None]
            said.append(f"precision={given['precision']}")
            if given["weights"]:
                said.append(f"{given['source']}={given['weights']}")
            return f"Drawn with {', '.join(said)}."
    return ""
