"""Opens the files of all contestants before anything is drawn, so that a bad file is found at
once."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from bench.errors import UsageError
from bench.run.plan import Plan
from bench.run.rows_left import Planned


def opened(plan: Plan, out: Console) -> Plan:
    """The plan without rows whose files cannot be used.

    Raises UsageError where the suite does not keep going, or no row is left; each fault is listed,
    including those of the plan.
    """
    rows = [_opened(planned) for planned in plan.rows]
    found = replace(plan, rows=rows)
    faults = dict.fromkeys(
        now.fault for was, now in zip(plan.rows, rows, strict=True) if now.fault != was.fault
    )
    faults = dict.fromkeys(plan.faults) | faults
    needed = [planned for planned in rows if planned.fault and plan.is_held_against(planned)]
    if faults and (not plan.suite.keep_going or needed or not found.sound):
        _refuse(plan, list(faults), out)
    return found


def _opened(planned: Planned) -> Planned:
    """A row; left out if it has images to draw and cannot."""
    if not planned.images or not planned.trained:
        return planned
    from bench.contestants import opening

    try:
        opening.check(planned.row.settings, planned.weights)
    except UsageError as error:
        return planned.without(str(error))
    return planned


def _refuse(plan: Plan, faults: list[str], out: Console) -> None:
    """Raise UsageError for all of them; of published checkpoints, whose paths are long, each is
    listed in a line of its own."""
    if len(faults) == 1 or not plan.suite.published:
        raise UsageError("; ".join(faults))
    for line in faults:
        out.print(f"cannot be drawn: {line}", highlight=False, soft_wrap=True, markup=False)
    raise UsageError(f"{len(faults)} contestants cannot be drawn, as listed above; valid: others, "
                     "or keep_going=true for the rest of them")  # fmt: skip
