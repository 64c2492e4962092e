"""Runs the first prompts of a suite, block after block, for a check that goes on until it is
decided.

Each block is a run of its own of the first so many prompts, in a folder of its own; pictures of
earlier blocks come from the cache.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rich.console import Console

from bench.errors import UsageError
from bench.results.entries import Arrays
from bench.results.summary import Summary
from bench.run import plan
from bench.run.metric_identities import metric_of
from bench.run.options import RunOptions
from bench.run.plan import Plan
from bench.run.run import run
from bench.statistics.printed import duration
from bench.statistics.result import Result
from bench.suite.contestant import ContestantSettings
from bench.suite.suite import Suite


@dataclass(frozen=True)
class Blocks:
    """suite, options: of the command line. out: the console for progress."""

    suite: Suite
    options: RunOptions
    out: Console

    @cached_property
    def whole(self) -> Plan:
        """All prompts of the suite. Raises UsageError where something is missing."""
        found = self._plan(self.options.limit, None)
        if found.missing:
            raise UsageError("; ".join(found.missing))
        return found

    @property
    def prompts(self) -> int:
        """The number of the suite's prompts, cut to the command line's."""
        return len({key.index for key in self.whole.keys})

    @property
    def folder(self) -> Path:
        """The check's own, which holds one of each block."""
        return self.options.out or Path(f"{self.whole.out}-decide")

    def draw(self, prompts: int, names: Container[str] | None) -> Path:
        """The folder of a finished run of the first so many prompts.

        names: rows that are drawn; None: all.  Raises UsageError where something is missing.
        """
        found = self._plan(prompts, names, self.folder / f"prompts-{prompts}")
        run(found, self.out, _unreported)
        return found.out

    def measure(self, name: str, features: Arrays, prompts: Sequence[int]) -> Result | None:
        """A distance of pictures by their features; None if it needs more than these."""
        metric = metric_of(self.suite, name)
        if metric.extractor not in features:
            return None
        try:
            return metric.evaluate(features[metric.extractor], [""] * len(prompts), prompts)
        except (
            ValueError,
            AttributeError,
            TypeError,
        ):  # of a metric that compares with the teacher
            return None

    def cost(self, looks: Sequence[int]) -> list[str]:
        """The cost of the looks in words: of all, and of the first."""
        words = []
        for what, prompts in (("at most", looks[-1]), ("the first", looks[0])):
            found = self._plan(prompts, None)
            images = sum(planned.images for planned in found.rows)
            evaluations = sum(planned.evaluations for planned in found.rows)
            words.append(f"{what}: {images:,} images to make, {evaluations:,} network "
                         f"evaluations, about {duration(found.seconds)}")  # fmt: skip
        at = ", ".join(f"{count:,}" for count in looks)
        return [f"looks at {at} prompts", *words]

    def _plan(
        self, prompts: int | None, names: Container[str] | None, out: Path | None = None
    ) -> Plan:
        """Of the first so many prompts; nothing is timed in turns, which no verdict needs."""
        suite = self.suite if names is None else _only(self.suite, names)
        options = replace(self.options, limit=prompts, rounds=0, out=out)
        return plan.make(suite, options)


def _unreported(found: Summary, folder: Path) -> None:
    """A block has no report of its own."""


def _only(suite: Suite, names: Container[str]) -> Suite:
    """The suite with these rows only, and the teacher if it has one, since some metrics compare
    with its pictures."""
    kept = (_steps(one, names) for one in suite.contestants)
    return replace(suite, contestants=tuple(one for one in kept if one is not None))


def _steps(one: ContestantSettings, names: Container[str]) -> ContestantSettings | None:
    """A contestant at the numbers of steps that are left; None where there are none."""
    if one.method == "teacher":
        return one
    steps = tuple(n for n in one.steps if f"{one.key}-{n}step" in names)
    if steps:
        return replace(one, steps=steps)
    return one if not one.steps and one.key in names else None
