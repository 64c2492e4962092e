"""Carries out a plan: fetch, train, make images, score, compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench.errors import UsageError
from bench.results import summary
from bench.results.summary import Summary
from bench.run import costs, downloads, processes, shipped
from bench.run.cache import Cache
from bench.run.early import EarlyReports
from bench.run.folder import claim
from bench.run.opening import opened
from bench.run.plan import Plan
from bench.run.processes import Process
from bench.run.progress import Reporter
from bench.run.show import show_plan

if TYPE_CHECKING:
    from bench.run.drawing import Drawn
    from bench.run.rows import Outcome
    from bench.statistics.comparisons import Scored

FAILURES = ("not_finite", "black", "not_scored")
Report = Callable[[Summary, Path], None]  # writes the report of a run folder


def run(plan: Plan, out: Console, report: Report, early: Report | None = None) -> int:
    """Carry out the plan; returns 0, or 4 where some rows, images or scores failed.

    Of several processes the first one writes the result, and all make slices. report: called once
    with the finished run and its folder, which is locked meanwhile; the seconds that it takes are
    part of result.json.  early: the same with the rows that are done, now and then while others are
    drawn. Raises UsageError where something is missing: all of it in one line.
    """
    process = processes.here()
    _refuse(plan, out, process)
    if plan.options.compiled:
        from bench.contestants.pipelines import check_compiler, device_of

        check_compiler(device_of(plan.options.device, process.local))
    if not plan.is_known:
        plan = _fetched(plan, out)
        _refuse(plan, out, process)
    plan = opened(plan, out)
    if plan.references:
        plan = _with_references(plan, out)
        _refuse(plan, out, process)
        plan = opened(plan, out)
    if not process.leads:
        return _help(plan, out, process)
    return _lead(plan, out, process, report, early)


def _refuse(plan: Plan, out: Console, process: Process) -> None:
    """Raise UsageError where something is missing; where it may be much, it is listed first.

    Faults of contestants alone are left to `opened`, which finds more of them.
    """
    if not plan.missing or (plan.is_known and plan.missing == plan.faults):
        return
    if plan.suite.published and process.leads:
        show_plan(plan, out)
        raise UsageError(f"{len(plan.missing)} of what this run needs is missing, as listed above")
    raise UsageError("; ".join(plan.missing))


def _fetched(plan: Plan, out: Console) -> Plan:
    """The plan after its downloads, which knows its images."""
    show_plan(plan, out)
    with Cache(plan.options.cache).lock("fetching", "all"):
        fetched = downloads.fetch(plan.downloads, plan.suite, out)
    return replace(plan, fetched=fetched).again()


def _with_references(plan: Plan, out: Console) -> Plan:
    """The plan with the references of its metrics, which knows its protocol."""
    from bench.run import made_references

    made_references.make(plan, out)
    return plan.again()


def _lead(plan: Plan, out: Console, process: Process, report: Report, early: Report | None) -> int:
    """The whole run, in its folder."""
    with claim(plan) as folder:
        show_plan(plan, out)
        from bench.run import drawing, finish, known_answers, rows, timing  # torch is needed

        worker, reporter = rows.worker(plan), Reporter(out)
        scored: dict[str, Scored] = {}
        train_seconds = rows.train(plan, worker)

        def summarised(drawn: Drawn) -> Summary:
            return finish.summarise(drawn, worker, train_seconds, folder, scored)

        def report_early(drawn: Drawn) -> None:
            if early is not None:
                early(summarised(drawn), folder)

        reports = EarlyReports(report_early, out, is_finished=(folder / "result.json").exists())
        drawn = drawing.draw(plan, worker, reporter, folder, process, reports)
        _export(plan, drawn.outcomes)
        for line in known_answers.hold(plan.suite, plan.metrics, str(worker.device)):
            out.print(f"known answers: {line}", highlight=False, soft_wrap=True, markup=False)
        found = timing.with_times(summarised(drawn), plan, worker, reporter)
        costs.remember(plan.options.cache, plan.cost_key, finish.costs(drawn.outcomes, worker))
        _write(found, folder, report, reports.seconds)
        out.print(f"result: {folder / 'result.json'}", highlight=False, soft_wrap=True)
    return 4 if found.missing or any(found.ledger.get(name) for name in FAILURES) else 0


def _help(plan: Plan, out: Console, process: Process) -> int:
    """A part of the run's slices, into the cache."""
    from bench.run import drawing, rows

    worker = rows.worker(plan)
    rows.train(plan, worker)
    drawing.help_to_draw(plan, worker, Reporter(out), process)
    return 0


def _export(plan: Plan, outcomes: Sequence[Outcome]) -> None:
    root = plan.options.export
    if root is None:
        return
    for outcome in outcomes:
        row = outcome.planned.row
        if shipped.is_shipped(row):
            path = shipped.export(
                root, row, outcome.planned.identity, plan.prompts, plan.suite.seeds,
                row.size(plan.suite.size), plan.extractors, outcome.features,
            )  # fmt: skip
            print(f"exported {path}")


def _write(found: Summary, folder: Path, report: Report, before: float) -> None:
    """result.json and the report; result.json once more, to hold the seconds that that took, and
    those `before` that earlier reports did."""
    began = time.perf_counter()
    summary.write(found, folder / "result.json")
    report(found, folder)
    found.seconds["report"] = round(before + time.perf_counter() - began, 2)
    summary.write(found, folder / "result.json")
