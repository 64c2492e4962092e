"""Many processes make the slices of one run: each takes what nobody has made and nobody holds.

Every process walks over the same rows and slices, from a place of its own on, and passes those by
that lie in the cache or are held by another. Rank 0 then reads all of it in order, and makes
itself what a process that died left behind. Which process makes a slice changes nothing in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from filelock import Timeout

from bench.run import rows
from bench.run.plan import Plan
from bench.run.processes import Ranks
from bench.run.progress import Reporter
from bench.run.rows_left import Planned
from bench.run.worker import Worker


def share(plan: Plan, worker: Worker, reporter: Reporter, ranks: Ranks) -> Plan:
    """Make this process's part of all rows. The plan as it is then: nothing left to make, but for
    slices that others are still at, or died with."""
    with reporter.live():
        for planned in plan.rows:
            _part(plan, planned, worker, reporter, ranks)
    return replace(plan, rows=[replace(planned, make=[], score=[]) for planned in plan.rows])


def _part(plan: Plan, planned: Planned, worker: Worker, reporter: Reporter, ranks: Ranks) -> None:
    source = rows.source(plan, planned, worker)
    left = [n for n, piece in enumerate(planned.pieces)
            if piece in planned.make or piece in planned.score]  # fmt: skip
    with reporter.bar(planned.row.name, planned.images) as advance:
        for number in _from(left, ranks):
            piece = planned.pieces[number]
            with contextlib.suppress(Timeout):
                rows.piece(plan, planned, number, worker, source, _silent, timeout=0)
            advance(len(piece) if piece in planned.make else 0)


def _silent(count: int) -> None:
    """A slice counts when it is done, whoever did it."""


def _from(numbers: Sequence[int], ranks: Ranks) -> Iterator[int]:
    """All of them, from this rank's part on."""
    start = ranks.rank * len(numbers) // ranks.count
    yield from numbers[start:]
    yield from numbers[:start]
