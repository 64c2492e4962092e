"""A plan carried out: fetch, train, make images, score, compare."""

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
from bench.run.folder import claim
from bench.run.plan import Plan
from bench.run.processes import Process
from bench.run.progress import Reporter
from bench.run.show import show_plan

if TYPE_CHECKING:
    from bench.run.rows import Outcome

FAILURES = ("not_finite", "black", "not_scored")
Report = Callable[[Summary, Path], None]  # shows what lies in a run folder


def run(plan: Plan, out: Console, report: Report) -> int:
    """Do what the plan says; 0, or 4 where some images or scores failed.

    Of several processes the first does it, and all others make slices for it.
    report: called once with the finished run and its folder, which is locked meanwhile; the
    seconds that it takes are part of result.json.
    Raises UsageError where something is missing: all of it in one line.
    """
    process = processes.here()
    _refuse(plan, out, process)
    if plan.options.compiled:
        from bench.contestants.pipelines import check_compiler, device_of

        check_compiler(device_of(plan.options.device, process.local))
    if not plan.is_known:
        plan = _fetched(plan, out)
        _refuse(plan, out, process)
    if plan.references:
        plan = _with_references(plan, out)
        _refuse(plan, out, process)
    return _lead(plan, out, process, report) if process.leads else _help(plan, out, process)


def _refuse(plan: Plan, out: Console, process: Process) -> None:
    """Raise UsageError where something is missing; where it may be much, it is listed first."""
    if not plan.missing:
        return
    if plan.suite.published and process.leads:
        show_plan(plan, out)
        raise UsageError(f"{len(plan.missing)} of what this run needs is missing, as listed above")
    raise UsageError("; ".join(plan.missing))


def _fetched(plan: Plan, out: Console) -> Plan:
    """The plan with its downloads here, so that it knows its images."""
    show_plan(plan, out)
    with Cache(plan.options.cache).lock("fetching", "all"):
        fetched = downloads.fetch(plan.downloads, plan.suite, out)
    return replace(plan, fetched=fetched).again()


def _with_references(plan: Plan, out: Console) -> Plan:
    """The plan with the references that its metrics wait for, so that it knows its protocol."""
    from bench.run import made_references

    made_references.make(plan, out)
    return plan.again()


def _lead(plan: Plan, out: Console, process: Process, report: Report) -> int:
    """The whole run, in its folder."""
    with claim(plan) as folder:
        show_plan(plan, out)
        from bench.run import finish, rows  # torch, only now that nothing is missing

        worker, reporter = rows.worker(plan), Reporter(out)
        train_seconds = rows.train(plan, worker)
        if process.count > 1:
            plan = rows.share(plan, worker, reporter, process)
        with reporter.live():
            outcomes = [rows.row(plan, one, worker, reporter, folder) for one in plan.rows]
        _export(plan, outcomes)
        found = finish.summarise(plan, outcomes, worker, train_seconds, folder)
        costs.remember(plan.options.cache, plan.cost_key, finish.costs(outcomes, worker))
        _write(found, folder, report)
        out.print(f"result: {folder / 'result.json'}", highlight=False, soft_wrap=True)
    return 4 if any(found.ledger.get(name) for name in FAILURES) else 0


def _help(plan: Plan, out: Console, process: Process) -> int:
    """A part of the run's slices, into the cache."""
    from bench.run import rows

    worker = rows.worker(plan)
    rows.train(plan, worker)
    rows.share(plan, worker, Reporter(out), process)
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


def _write(found: Summary, folder: Path, report: Report) -> None:
    """result.json and the report; result.json once more, to hold the seconds that that took."""
    began = time.perf_counter()
    summary.write(found, folder / "result.json")
    report(found, folder)
    found.seconds["report"] = round(time.perf_counter() - began, 2)
    summary.write(found, folder / "result.json")
