"""Progress of a run: bars with rate and remaining time, or plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hypersd.console import console as progress_console

Advance = Callable[[int], None]


def console() -> Console:
    """Standard output; wide enough for a table where it is no terminal, as in a notebook."""
    return progress_console(width=120)


class Reporter:
    """Progress of a run: `bar` gives a function to call with each number of images done.

    every: seconds between plain lines, where there is no terminal.
    """

    def __init__(self, out: Console, every: float = 10.0) -> None:
        self.out, self.every = out, every
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
            yield _Lines(self.out, name, total, self.every)

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
    """A plain line every so many seconds and one at the end, for logs."""

    def __init__(self, out: Console, name: str, total: int, every: float) -> None:
        self.out, self.name, self.total, self.every = out, name, total, every
        self.done, self.began, self.said = 0, time.monotonic(), time.monotonic()

    def __call__(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if self.done == 0 or (now - self.said < self.every and self.done < self.total):
            return  # there is no rate before the first image, of a process that only scores
        self.said = now
        rate = self.done / max(1e-9, now - self.began)
        left = (self.total - self.done) / rate
        self.out.print(
            f"{self.name}: {self.done}/{self.total} images, {rate:.1f} images/s, {left:.0f} s left",
            highlight=False,
        )
