"""Early reports: pages of the finished rows while others are drawn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console

from bench.errors import brief

if TYPE_CHECKING:
    from bench.run.drawing import Drawn

LEAST = 60.0  # seconds, from the start and from one to the next
SPARE = 30.0  # times what the last one took, to the next: they take 3 % of a run at most


@dataclass
class EarlyReports:
    """Called after each row, writes a report if one is due and there is something to compare.

    write: makes one. Its errors are printed, and the run goes on.  is_finished: the folder holds
    the report of a finished run, which stays until it is written again.  seconds: taken so far.
    """

    write: Callable[[Drawn], None]
    out: Console
    is_finished: bool = False
    seconds: float = 0.0
    due: float = field(default_factory=lambda: time.monotonic() + LEAST)

    def __call__(self, drawn: Drawn) -> None:
        """Write a report of the finished rows, if one is due."""
        began = time.monotonic()
        if self.is_finished or began < self.due or not _is_worth_it(drawn):
            return
        try:
            self.write(drawn)
        except Exception as error:  # any error: the run is worth more than an early report
            self.out.print(f"no report of the rows so far ({brief(error)}); the run goes on",
                           highlight=False, soft_wrap=True, markup=False)  # fmt: skip
        took = time.monotonic() - began
        self.seconds += took
        self.due = time.monotonic() + max(LEAST, SPARE * took)


def _is_worth_it(drawn: Drawn) -> bool:
    """Whether two rows that are no anchors are done, and one is to come."""
    compared = [one for one in drawn.outcomes if one.planned.row.steps is not None]
    left = len(drawn.plan.sound) - len(drawn.done) - len(drawn.failed)
    return len(compared) > 1 and left > 0
