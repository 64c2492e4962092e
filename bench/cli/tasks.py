"""What each task does, given a `Command`; the exit codes are those that `bench.cli.help` names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.words import Command
from bench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from bench.results.summary import Summary
    from bench.run.plan import Plan


def planned(command: Command) -> Plan:
    """The plan of a suite's run. Raises UsageError."""
    from bench.run.plan import make

    assert command.suite is not None  # `read` refuses these tasks without
    return make(command.suite, command.options)


def _run(command: Command) -> int:
    from bench.run.progress import console

    return carried_out(planned(command), console())[0]


def carried_out(plan: Plan, out: Console) -> tuple[int, Path]:
    """Make the run with its report, and say so on `out`: (exit code, its folder).

    Raises UsageError where something is missing.
    """
    from bench.run.run import run

    folders = []

    def report(found: Summary, folder: Path) -> None:
        from bench.report.write import write

        folders.append(folder)
        write(found, folder, out)

    def early(found: Summary, folder: Path) -> None:
        from bench.report.write import early

        early(found, folder, out)

    code = run(plan, out, report, early)
    return code, folders[0] if folders else plan.out  # one of several processes has no folder


def _plan(command: Command) -> int:
    from bench.run.progress import console
    from bench.run.show import show_plan

    plan = planned(command)
    show_plan(plan, console())
    if command.strict and plan.missing:
        raise UsageError(f"strict=true: {len(plan.missing)} missing, as the plan says")
    return 0


def _report(command: Command) -> int:
    from bench.report import write
    from bench.run.progress import console

    assert command.report is not None
    out = command.options.out
    if command.report.leaderboard:
        return _leaderboard(command)
    if not command.together:
        folder = command.finished or out or planned(command).out
        write.report(folder, console(), out, command.report)
    elif command.report.mixed_model:
        raise UsageError("mixed_model=true: goes with run=DIR; a report of several has no study")
    else:
        write.compare(command.together, console(), out, command.report)
    return 0


def _leaderboard(command: Command) -> int:
    from bench.report import leaderboard

    if not command.together:
        raise UsageError("leaderboard=true: goes with runs=[DIR,DIR] or runs=[DIR/*]")
    print(f"leaderboard: {leaderboard.write(command.together, command.options.out)}")
    return 0


def _check(command: Command) -> int:
    from bench.check.task import check

    assert command.check is not None
    suite = command.suite
    bounds = None if suite is None else {"margins": suite.margins, "limits": suite.limits}
    if command.check.decide:
        return _decide(command, bounds)
    folder = command.finished or command.options.out or _made(planned(command))
    return check(folder, command.check, bounds)


def _decide(command: Command, bounds: Mapping[str, Any] | None) -> int:
    """A check that draws until it is decided."""
    from bench.check import baseline, looks
    from bench.check.decide import decide
    from bench.check.task import finished
    from bench.results.run_folder import RunFolder
    from bench.run.blocks import Blocks
    from bench.run.progress import console

    check = command.check
    assert check is not None
    if command.suite is None or bounds is None or command.finished is not None:
        raise UsageError("decide=true: draws more prompts, so give suite=NAME and the run's own "
                         "words in place of run=DIR")  # fmt: skip
    base = RunFolder(baseline.locate(check.baseline), "baseline").checked()
    blocks = Blocks(command.suite, command.options, console())
    known = min(blocks.prompts, len(base.texts))
    if check.most is not None and check.most > known:
        has = f"baseline={check.baseline} has {len(base.texts):,}, the suite {blocks.prompts:,}"
        raise UsageError(f"most={check.most}: {has}; write a baseline of more (prompts.n=...)")
    chosen = looks.planned(check.most or known)
    for line in blocks.cost(chosen.prompts):
        print(f"decide: {line}")
    out = blocks.folder / "check"
    page = decide(blocks.draw, base, check, bounds, chosen, blocks.measure, out)
    return finished(page, out, check.pictures)


def _made(plan: Plan) -> Path:
    """The folder of the run that the words make."""
    if plan.missing:
        raise UsageError("; ".join(plan.missing))
    if not plan.out.is_dir():
        raise UsageError(
            f"run={plan.out}: there is no such run yet; make it first, by the same words without "
            "task, baseline and update"
        )
    return plan.out


def _study(command: Command) -> int:
    from bench.study.task import study

    assert command.study is not None and command.finished is not None
    return study(command.finished, command.study)


def _sensitivity(command: Command) -> int:
    from bench.report import sensitivity
    from bench.report.write import write
    from bench.run.plan import make
    from bench.run.progress import console
    from bench.run.run import run
    from bench.suite.sampler_grid import gridded

    if command.suite is None or command.grid is None:
        raise UsageError("task=sensitivity: needs suite=NAME and contestant=NAME")
    out, grid = console(), command.grid

    def report(found: Summary, folder: Path) -> None:
        write(found, folder, out)
        sensitivity.write(found, folder, grid.contestant, out)

    return run(make(gridded(command.suite, grid), command.options), out, report)


TASKS = {
    "run": _run,
    "plan": _plan,
    "report": _report,
    "check": _check,
    "study": _study,
    "sensitivity": _sensitivity,
}
