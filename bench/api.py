"""The benchmark in Python: `bench.evaluate`, `bench.plan`, `bench.load` (docs/python.md).

Keywords are the command line's keys, nested ones as mappings, and are refused in the same words: by
UsageError, whose text is one line.
"""

from __future__ import annotations

import html
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.tasks import carried_out, planned
from bench.cli.words import WORDS, Command, command
from bench.errors import UsageError, in_a_line
from bench.results.run_folder import RunFolder
from bench.results.summary import Summary

if TYPE_CHECKING:
    from bench.check.task import CheckOptions
    from bench.check.verdicts import Verdict
    from bench.report.frame import Frame
    from bench.report.in_python import Comparisons, Pictures
    from bench.report.write import Written
    from bench.run.plan import Plan

Name = str | os.PathLike[str]
WIDTH = 100  # columns of a printed plan


@contextmanager
def _ours() -> Iterator[None]:
    """Inside the block an error of the system (a full disk, no permission) becomes a UsageError."""
    try:
        yield
    except OSError as error:
        raise UsageError(in_a_line(error)) from error


def evaluate(suite: Name, *, quiet: bool = False, **changes: Any) -> Run:
    """Run a suite, as `python bench.py suite=... key=value` does, and return its finished run.

    suite: a name or the path of a YAML file.  quiet: print nothing.  changes: keys of a suite or of
    a run, as `limit=100`, `seeds=[0, 1]`, `contestants={"mine": {"lora": "my.safetensors", "like":
    "tcd"}}`: mappings are merged into the suite's, a contestant that is None is taken away.
    The same call again makes nothing twice: images and features stay in the cache.
    Raises UsageError for what is not valid, missing or cannot be read, in the command line's words.
    """
    return plan(suite, **changes).run(quiet=quiet)


def plan(suite: Name, **changes: Any) -> PlannedRun:
    """The plan of `evaluate`: what it would make and fetch, and what is missing. Makes nothing.
    Raises UsageError."""
    with _ours():
        command = _command(suite, changes)
        options = replace(command.options, call=_call(suite, changes))
        return PlannedRun(planned(replace(command, options=options)))


def load(folder: Name) -> Run:
    """The finished run in a folder. Raises UsageError for any other folder, an unfinished or a
    damaged run."""
    found = Run(Path(folder))
    with _ours():
        found.folder.checked()
    return found


def leaderboard(runs: Iterable[Name], out: Name | None = None) -> Path:
    """Write one page of many finished runs, a history per contestant, into `out` (default
    runs/leaderboard); its path. Raises UsageError for a run that is not finished or damaged."""
    from bench.report.leaderboard import write

    with _ours():
        return write([Path(run) for run in runs], None if out is None else Path(out))


def _command(suite: Name, changes: Mapping[str, Any]) -> Command:
    from bench.suite import changes as changes_of

    name = os.fspath(suite)
    words = [word for word in WORDS if word != "task"]
    paths, given = changes_of.split(changes, words)
    keys = {key.split(".")[0] for key in given} | paths.keys()
    return command(name, changes_of.changed(name, given), {**paths, "suite": name}, keys)


def _call(suite: Name, changes: Mapping[str, Any]) -> str:
    """The call as a user would write it, for the record of a run."""
    given = "".join(f", {key}={value!r}" for key, value in changes.items() if key.isidentifier())
    dotted = {key: value for key, value in changes.items() if not key.isidentifier()}
    return f"bench.evaluate({os.fspath(suite)!r}{given}{f', **{dotted!r}' if dotted else ''})"


@dataclass(frozen=True, repr=False)
class PlannedRun:
    """A run before it happens. plan: in full, as the run reads it."""

    plan: Plan

    @property
    def missing(self) -> list[str]:
        """What is missing, a clause each; empty if the run can start."""
        return list(self.plan.missing)

    @property
    def notes(self) -> list[str]:
        """Notes for readers of its numbers, for instance on what was left out and why."""
        return [*self.plan.notes, *self.plan.prompts.notes]

    @property
    def images(self) -> int:
        """Images to make."""
        return sum(planned.images for planned in self.plan.rows)

    @property
    def evaluations(self) -> int:
        """Network evaluations of these images."""
        return sum(planned.evaluations for planned in self.plan.rows)

    @property
    def seconds(self) -> float:
        """Expected seconds of the run."""
        return self.plan.seconds

    @property
    def out(self) -> Path:
        """The run folder; it has another name where something must be fetched first."""
        return self.plan.out

    def table(self) -> Frame:
        """A row per contestant: images to make, network evaluations, seconds as expected, and why
        it is left out."""
        from bench.report.frame import frame

        rows = self.plan.rows
        return frame({
            "contestant": [one.row.name for one in rows],
            "images": [one.images for one in rows],
            "evaluations": [one.evaluations for one in rows],
            "seconds": [self.plan.seconds_of(one) for one in rows],
            "left_out": [one.fault or None for one in rows],
        })  # fmt: skip

    def run(self, *, quiet: bool = False) -> Run:
        """Carry out the plan. Raises UsageError as `evaluate`."""
        from rich.console import Console

        from bench.run.progress import console

        out = Console(quiet=True) if quiet else console()
        with _ours(), redirect_stdout(io.StringIO()) if quiet else nullcontext():
            return Run(carried_out(self.plan, out)[1])

    def __repr__(self) -> str:
        from bench.report.terminal import lines
        from bench.run.show import show_plan

        text = io.StringIO()
        show_plan(self.plan, lines(text, WIDTH))
        return text.getvalue().rstrip()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@dataclass(frozen=True, repr=False)
class Checked:
    """A run against a baseline: "pass", "regress" or "inconclusive", and each verdict.

    folder: holds junit.xml, summary.md with pictures of the worst prompts, check.json.
    """

    outcome: str
    verdicts: tuple[Verdict, ...]
    folder: Path

    @property
    def passed(self) -> bool:
        """Whether every verdict is a pass, or was skipped."""
        return self.outcome == "pass"

    def table(self) -> Frame:
        """A row per contestant and metric: before, after, difference with interval, verdict."""
        from bench.report.frame import frame

        names = ("contestant", "subject", "outcome", "before", "after", "delta", "low", "high",
                 "why")  # fmt: skip
        return frame({name: [getattr(row, name) for row in self.verdicts] for name in names})

    def __repr__(self) -> str:
        held = [row.outcome for row in self.verdicts]
        counts = ", ".join(f"{held.count(one)} {one}" for one in dict.fromkeys(held))
        return f"{self.outcome} ({counts})"


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run. path: its folder."""

    path: Path

    @cached_property
    def folder(self) -> RunFolder:
        """The run folder, read on demand."""
        return RunFolder(self.path)

    @property
    def summary(self) -> Summary:
        """Its result.json: contestants, comparisons, claims, environment."""
        with _ours():
            return self.folder.summary

    def table(self) -> Frame:
        """A row per contestant: method, steps, images, every metric with the ends of its 95 %
        interval, milliseconds per image.

        A pandas DataFrame, or a `bench.Table` where pandas is not installed.
        """
        from bench.report.in_python import results

        return results(self.summary)

    def scores(self, metric: str) -> Frame:
        """A row per prompt, a column per contestant: a metric's scores of single prompts.

        Raises UsageError for a metric without any (a distance between sets of pictures).
        """
        from bench.report.in_python import scores

        with _ours():
            return scores(self.summary, self.path, metric)

    def compare(self, a: str, b: str) -> Comparisons:
        """a against b, prompt by prompt, on every metric that both have; a difference is a - b.

        The same as in the run's report. A pair that the report does not compare (of other step
        counts) is tested now, adjusted over the pair's metrics alone.  Raises UsageError.
        """
        from bench.report.in_python import compare

        with _ours():
            return compare(self.summary, self.folder, a, b)

    def pictures(self, contestant: str) -> Pictures:
        """The picture files of a contestant by prompt index. Raises UsageError."""
        from bench.report.in_python import pictures

        with _ours():
            return pictures(self.summary, self.folder, contestant)

    def check(self, baseline: Name, **options: Any) -> Checked:
        """Compare it with a baseline, as `task=check` does, and write the folder `check` in it.

        baseline: a name in reports/baselines, or a folder, which another run's may be.
        options: `check="weights"` or `"training"`; `pictures=URL`.  Raises UsageError.
        """
        from bench.check.task import checked

        with _ours():
            page = checked(self.path, _check_options(baseline, options))
        return Checked(page.outcome, tuple(page.verdicts), self.path / "check")

    def report(self, out: Name | None = None, *, mixed_model: bool = False) -> Written:
        """Write page, PDF and tables again, into its own folder or into `out`.

        mixed_model: add it to the votes of its study.  Raises UsageError.
        """
        from rich.console import Console

        from bench.report.write import ReportOptions, report

        target, options = None if out is None else Path(out), ReportOptions(mixed_model)
        with _ours():
            return report(self.path, Console(quiet=True), target, options)

    def track(self, tracker: str) -> str:
        """Write its report again and give both to a tracker that accelerate knows ("tensorboard",
        "wandb", "mlflow", ...), as `task=report tracker=...` does; a sentence on what it got.

        Raises UsageError where it is not installed or refuses.
        """
        from bench.report import runfiles, tracking

        with _ours():
            tracking.check(tracker)
            self.report()
            return tracking.track(
                self.summary, runfiles.read(self.summary, self.path), self.path, tracker
            )

    def __repr__(self) -> str:
        from bench.report.in_python import as_text

        return f"{as_text(self.summary)}\nrun folder: {self.path}"

    def _repr_html_(self) -> str:
        from bench.report.in_python import as_html

        return f"{as_html(self.summary)}<p>{html.escape(str(self.path))}</p>"


def _check_options(baseline: Name, options: Mapping[str, Any]) -> CheckOptions:
    from bench.check.task import CheckOptions
    from hypersd import validation
    from hypersd.plain_values import plain

    name = os.fspath(baseline)
    if isinstance(baseline, Path) and not baseline.is_absolute():
        name = os.path.join(os.curdir, name)  # a folder, not a name
    return validation.read(CheckOptions, {**plain(options, "check"), "baseline": name})
