"""`task=check decide=true`: draw a block of prompts, test, and go on with the open contestants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.check import protocol
from bench.check.cut import CutBaseline, Measure, cut
from bench.check.limits import limit_verdicts
from bench.check.looks import Looks, look_at, too_weak
from bench.check.markdown import Page
from bench.check.measured import Measured, measured
from bench.check.task import Bounds, CheckOptions, page_of
from bench.check.verdicts import Verdict
from bench.errors import UsageError
from bench.results.run_folder import RunFolder
from bench.statistics import margins
from bench.statistics.result import results_of

Draw = Callable[[int, frozenset[str] | None], Path]
"""(prompts, contestants that are still open; None: all) -> the folder of a run of the first so
many prompts."""
Say = Callable[[str], None]


@dataclass
class Deciding:
    """verdicts: by contestant and metric, the last one of each.  sides: of each contestant, run and
    baseline that these are of.  first: those of the first look.  notes: on the check's power."""

    verdicts: dict[tuple[str, str], Verdict] = field(default_factory=dict)
    sides: dict[str, tuple[RunFolder, CutBaseline]] = field(default_factory=dict)
    first: tuple[RunFolder, CutBaseline] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def open(self) -> frozenset[str]:
        """Contestants with an open metric and none that regressed."""
        outcomes: dict[str, set[str]] = {}
        for (name, _), verdict in self.verdicts.items():
            outcomes.setdefault(name, set()).add(verdict.outcome)
        return frozenset(name for name, found in outcomes.items()
                         if "inconclusive" in found and "regress" not in found)  # fmt: skip


def decide(
    draw: Draw, base: RunFolder, options: CheckOptions, bounds: Bounds, looks: Looks,
    measure: Measure, out: Path, say: Say = print,
) -> Page:  # fmt: skip
    """All verdicts, after as many looks as needed.

    measure: what is of all of the baseline's pictures together.  out: folder of the check's files.
    Raises UsageError where the run is of another protocol than the baseline.
    """
    state = Deciding()
    for number, prompts in enumerate(looks.prompts):
        run = RunFolder(draw(prompts, state.open if number else None), "run").checked()
        before = cut(base, run, measure)
        _check(run, before, options.baseline)
        _look(state, run, before, number, looks, bounds)
        _said(state, number, looks, say)
        if not state.open:
            break
    assert state.first is not None
    first = run, before = state.first
    rows = [*_closed(state), *limit_verdicts(run, base, bounds.get("limits") or {})]
    return page_of(rows, run, before, options.baseline, lambda name: state.sides.get(name, first),
                   out / "pictures", state.notes)  # fmt: skip


def _check(run: RunFolder, before: CutBaseline, name: str) -> None:
    if not before.names:
        known = ", ".join(c.name for c in before.whole.summary.contestants)
        raise UsageError(f"baseline={name}: has no contestant of this run; it has {known}")
    different = protocol.differences(run, before)
    if different:
        raise UsageError(f"baseline={name}: of another protocol ({'; '.join(different)})")


def _look(
    state: Deciding, run: RunFolder, before: CutBaseline, number: int, looks: Looks, bounds: Bounds
) -> None:
    """The verdicts of a look on open rows."""
    sizes = bounds.get("margins") or {}
    rows = [_fixed(row, before.whole, sizes) for row in measured(run, before, sizes, "weights")]
    tests = {name: sum(r.contestant == name and r.difference is not None for r in rows)
             for name in before.names}  # fmt: skip
    opened = state.open if state.verdicts else before.names
    if state.first is None:
        state.first = run, before
        for name in before.names:
            own = [row for row in rows if row.contestant == name and not row.same]
            state.notes += too_weak(own, looks, tests[name])
    for row in rows:
        key = row.contestant, row.metric
        held = state.verdicts.get(key)
        is_open = held is None or held.outcome == "inconclusive"
        if row.contestant in opened and is_open:
            found = look_at(row, number, looks, tests[row.contestant])
            state.verdicts[key] = found
            state.sides[row.contestant] = run, before


def _fixed(row: Measured, whole: RunFolder, sizes: Mapping[str, margins.Margin]) -> Measured:
    """The row with the margin of the whole baseline, so that a percentage is the same at every
    look."""
    result = results_of(whole, row.contestant)[row.metric]
    return replace(row, margin=margins.of_result(margins.of(row.metric, sizes), result))


def _closed(state: Deciding) -> list[Verdict]:
    """All verdicts; open rows of a contestant that regressed are marked as not tested further."""
    found = []
    for (name, _), verdict in state.verdicts.items():
        if verdict.outcome == "inconclusive" and name not in state.open:
            why = f"not tested further, since {name} regressed; {verdict.why}"
            verdict = replace(verdict, outcome="skipped", why=why)
        found.append(verdict)
    return found


def _said(state: Deciding, number: int, looks: Looks, say: Say) -> None:
    rows = list(state.verdicts.values())
    counts = ", ".join(f"{sum(v.outcome == o for v in rows)} {o}"
                       for o in ("pass", "regress", "inconclusive"))  # fmt: skip
    last = number + 1 == len(looks.prompts)
    if not state.open:
        then = "decided"
    elif last:
        then = "all prompts are drawn"
    else:
        then = f"going on with {_listed(sorted(state.open))}"
    say(f"look {number + 1} of {len(looks.prompts)}, {looks.prompts[number]:,} prompts: {counts}; "
        f"{then}")  # fmt: skip
    for note in state.notes if number == 0 else ():
        say(f"note: {note}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
