"""What a person sees of a run: the plan, bars with rate and remaining time, or plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from bench.run.plan import Plan
    from bench.run.rows_left import Planned

EVERY = 10.0  # seconds between plain lines
Advance = Callable[[int], None]


def console() -> Console:
    """Standard output; wide enough for a table where it is no terminal."""
    plain = Console(soft_wrap=False)
    return plain if plain.is_terminal else Console(width=120)


class Reporter:
    """Progress of a run: `bar` gives a function to call with each number of images done."""

    def __init__(self, out: Console) -> None:
        self.out = out
        self._bars: Progress | None = None

    @contextmanager
    def live(self) -> Iterator[None]:
        """Bars stay together on a terminal while this is open."""
        if not self.out.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                   TextColumn("{task.fields[rate]}"), TimeRemainingColumn())  # fmt: skip
        with Progress(*columns, console=self.out) as self._bars:
            yield
        self._bars = None

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Advance]:
        """One stage of `total` images; nothing is shown where there is none."""
        if total == 0:
            yield lambda count: None
        elif self._bars is not None:
            yield self._drawn(name, total)
        else:
            yield _Lines(self.out, name, total)

    def _drawn(self, name: str, total: int) -> Advance:
        bars, began = self._bars, time.monotonic()
        assert bars is not None
        task = bars.add_task(name, total=total, rate="")

        def advance(count: int) -> None:
            done = bars.tasks[task].completed + count
            rate = done / max(1e-9, time.monotonic() - began)
            bars.update(task, advance=count, rate=f"{rate:.1f} images/s")

        return advance


class _Lines:
    """A plain line every ten seconds and one at the end, for logs."""

    def __init__(self, out: Console, name: str, total: int) -> None:
        self.out, self.name, self.total = out, name, total
        self.done, self.began, self.said = 0, time.monotonic(), time.monotonic()

    def __call__(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if self.done == 0 or (now - self.said < EVERY and self.done < self.total):
            return  # there is no rate before the first image, of a process that only scores
        self.said = now
        rate = self.done / max(1e-9, now - self.began)
        left = (self.total - self.done) / rate
        self.out.print(
            f"{self.name}: {self.done}/{self.total} images, {rate:.1f} images/s, {left:.0f} s left",
            highlight=False,
        )


def show_plan(plan: Plan, out: Console | None = None) -> None:
    """Print what a run will do, what it will cost, and what it lacks."""
    out = out or console()
    out.print(_table(plan))
    from bench.run import checklist

    total = sum(planned.evaluations for planned in plan.rows)
    images = sum(planned.images for planned in plan.rows)
    disk = sum(row.images * row.row.size(plan.suite.size) ** 2 * 3 for row in plan.rows)
    out.print(
        f"{images:,} images to make, {total:,} network evaluations, "
        f"about {_duration(plan.seconds)}, {disk / 1e6:.0f} MB of cache",
        highlight=False,
    )
    for line in checklist.lines(plan):
        out.print(line, highlight=False, soft_wrap=True, markup=False)
    folder = plan.out if plan.is_known else "named once all of it is here"
    out.print(f"run folder: {folder}", highlight=False, soft_wrap=True)
    for note in plan.notes:
        out.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    for clause in plan.missing:
        out.print(f"missing: {clause}", highlight=False, soft_wrap=True, markup=False)


def _table(plan: Plan) -> Table:
    suite, limit = plan.suite, plan.options.limit
    quick = f", limit={limit}: a quick run" if limit else ""
    table = Table(title=f"{escape(suite.title)}: {len(plan.keys)} images per contestant{quick}",
                  title_justify="left")  # fmt: skip
    table.add_column("contestant")
    for name in ("to make", "cached", "shipped", "evaluations"):
        table.add_column(name, justify="right")
    table.add_column("first")
    for planned in plan.rows:
        table.add_row(planned.row.name, *_cells(planned, len(plan.keys)))
    return table


def _cells(planned: Planned, scored: int) -> tuple[str, ...]:
    if not planned.identity and not planned.make:
        return ("", "", "", "", "something is missing")
    shipped = scored if planned.shipped is not None else 0
    cached = sum(map(len, planned.pieces)) - planned.images if not shipped else 0
    first = "" if planned.trained else f"train {planned.row.settings.weights}"
    first = first if planned.identity else "fetch"
    numbers = (planned.images, cached, shipped, planned.evaluations)
    return (*(f"{n:,}" if n else "" for n in numbers), first)


def _duration(seconds: float) -> str:
    units = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))
    unit = next((one for one in units if seconds >= 2 * one[1]), None)
    if unit is None and seconds >= 60:
        unit = units[-1]
    return f"{seconds / unit[1]:.1f} {unit[0]}" if unit else f"{max(1, round(seconds))} seconds"
