"""Draws the rows of a run one after the other: cheapest first; rows that fail are left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import UsageError
from bench.run import rows
from bench.run.plan import Plan
from bench.run.processes import Process
from bench.run.progress import Reporter
from bench.run.rows import Outcome
from bench.run.rows_left import Planned
from bench.run.worker import Undrawable, Worker


@dataclass
class Drawn:
    """The rows so far, by name: outcomes, or why a row could not be drawn."""

    plan: Plan
    done: dict[str, Outcome] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def outcomes(self) -> list[Outcome]:
        """In the order of the suite."""
        return [self.done[row.name] for row in self.plan.rows if row.name in self.done]


def draw(
    plan: Plan,
    worker: Worker,
    reporter: Reporter,
    folder: Path,
    process: Process,
    after_a_row: Callable[[Drawn], None],
) -> Drawn:
    """Make and score every row; one of several processes makes its part first, then reads the
    others'.

    after_a_row: called after each row that is done, while others are still to come.
    Raises UsageError where no row can be drawn.
    """
    drawn, shared = Drawn(plan), list[Planned]()

    def finish(planned: Planned) -> None:
        try:
            drawn.done[planned.name] = rows.row(plan, planned, worker, reporter, folder)
        except Undrawable as error:
            drawn.failed[planned.name] = str(error)
            worker.done.add(planned.name)
            print(f"{planned.name} is left out: {error}")
        after_a_row(drawn)

    with reporter.live():
        for planned in plan.sound:
            if process.count == 1:
                finish(planned)
                continue
            rows.share(plan, planned, worker, reporter, process)
            shared.append(planned)
            for one in [one for one in shared if rows.is_made(one, worker)]:
                shared.remove(one)
                finish(rows.made(one))
        for planned in shared:  # with slices that others are at, died with or could not draw
            finish(rows.made(planned))
    if not drawn.done:
        raise UsageError("; ".join(drawn.failed.values()))
    return drawn


def help_to_draw(plan: Plan, worker: Worker, reporter: Reporter, process: Process) -> None:
    """This process's part of the slices, into the cache."""
    with reporter.live():
        for planned in plan.sound:
            rows.share(plan, planned, worker, reporter, process)
