"""A plan carried out: train, make images, score, compare."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench.errors import UsageError
from bench.results import summary
from bench.run import costs, processes, rows, shipped
from bench.run.cache import Store
from bench.run.folder import claim, write_features, write_scores
from bench.run.judges import judge
from bench.run.plan import Plan
from bench.run.processes import Ranks
from bench.run.progress import Reporter, show_plan
from bench.run.rows import Outcome

if TYPE_CHECKING:
    from bench.run.worker import Worker

FAILURES = ("not_finite", "black", "not_scored")
Report = Callable[[summary.Summary, Path], None]  # shows what lies in a run folder


def run(plan: Plan, out: Console, report: Report) -> int:
    """Do what the plan says; 0, or 4 where some images or scores failed.

    Of several processes the first does it, and all others make slices for it.
    report: called once with the finished run and its folder, which is locked meanwhile; the
    seconds that it takes are part of result.json.
    Raises UsageError where something is missing: all of it in one line.
    """
    place = processes.here()
    _refuse(plan, out, place)
    if plan.options.compiled:
        from bench.contestants import compiling

        compiling.check(plan.options.device)
    if not plan.is_known:
        from bench.run.fetching import fetched

        show_plan(plan, out)
        with Store(plan.options.cache).lock("fetching", "all"):
            plan = fetched(plan, out)
        _refuse(plan, out, place)
    return _lead(plan, out, place, report) if place.leads else _help(plan, out, place)


def _lead(plan: Plan, out: Console, place: Ranks, report: Report) -> int:
    """The whole run, in its folder."""
    with claim(plan) as folder:
        show_plan(plan, out)
        worker = rows.worker(plan)
        train_seconds = rows.train(plan, worker)
        reporter = Reporter(out)
        if place.count > 1:
            from bench.run.sharing import share

            plan = share(plan, worker, reporter, place)
        with reporter.live():
            outcomes = [rows.row(plan, one, worker, reporter, folder) for one in plan.rows]
        _export(plan, outcomes)
        found = _summary(plan, outcomes, worker, train_seconds, folder)
        _remember_costs(plan, worker, outcomes)
        _write(found, folder, report)
        out.print(f"result: {folder / 'result.json'}", highlight=False, soft_wrap=True)
    return 4 if any(found.ledger.get(name) for name in FAILURES) else 0


def _help(plan: Plan, out: Console, place: Ranks) -> int:
    """A part of the run's slices, into the cache."""
    from bench.run.sharing import share

    worker = rows.worker(plan)
    rows.train(plan, worker)
    share(plan, worker, Reporter(out), place)
    return 0


def _refuse(plan: Plan, out: Console, place: Ranks) -> None:
    """Raise UsageError where something is missing; where it may be much, it is listed first."""
    if not plan.missing:
        return
    if plan.suite.published and place.leads:
        show_plan(plan, out)
        raise UsageError(f"{len(plan.missing)} of what this run needs is missing, as listed above")
    raise UsageError("; ".join(plan.missing))


def _write(found: summary.Summary, folder: Path, report: Report) -> None:
    """result.json and the report; result.json once more, to hold the seconds that that took."""
    began = time.perf_counter()
    summary.write(found, folder / "result.json")
    report(found, folder)
    found.seconds["report"] = round(time.perf_counter() - began, 2)
    summary.write(found, folder / "result.json")


def _export(plan: Plan, outcomes: list[Outcome]) -> None:
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


def _summary(
    plan: Plan, outcomes: list[Outcome], worker: Worker, train_seconds: float, folder: Path
) -> summary.Summary:
    from bench.run import environment, finish, kept, ledger, scoring
    from bench.statistics.claims import claim_verdicts
    from bench.statistics.comparisons import compare, refused, sensitivity
    from bench.statistics.result import to_arrays

    began = time.perf_counter()
    judges = [judge(plan.suite, name) for name in plan.metrics]
    scored = []
    for outcome in outcomes:
        contestant = finish.contestant(plan, outcome.planned, outcome.records)
        scored.append(scoring.scored(plan, outcome, contestant, judges))
        found = scored[-1].results
        write_scores(folder, contestant.name, to_arrays(found))
        seen = {m.extractor for m in judges if m.name in found and found[m.name].kind == "distance"}
        distances = {name: outcome.features[name] for name in sorted(seen)}
        write_features(folder, contestant.name, distances, plan.keys)
    comparisons = compare(scored, plan.suite.margins)
    others = kept.find(plan, scored, judges)
    seconds = {"train": train_seconds, **worker.seconds}
    seconds["score"] += time.perf_counter() - began
    return summary.Summary(
        suite=plan.suite.name,
        protocol=plan.protocol,
        environment={
            **environment.describe(
                worker.device, "best" if plan.options.best_batch else worker.batch
            ),
            "precision": plan.suite.contestants[0].precision,
            "compiled": plan.options.compiled,
            "processes": processes.here().count,
        },
        seconds={name: round(value, 2) for name, value in seconds.items()},
        contestants=[one.contestant for one in scored],
        comparisons=comparisons,
        claims=claim_verdicts(plan.suite.claims, [*scored, *others.trainings], plan.suite.margins),
        ledger={
            **finish.ledger(plan, [(o.planned, o.records) for o in outcomes], worker.store),
            "not_compared": [*refused(scored), *others.refused],
            "not_scored": [why for o in outcomes for why in o.not_scored]
            + [why for one in scored for why in one.failed],
            "out_of_memory": worker.halved,
            "truncated_by_metric": ledger.truncated(judges, plan.keys),
            "by_contestant": ledger.images(plan.keys, outcomes),
        },
        title=plan.suite.title,
        limit=plan.options.limit,
        sensitivity=sensitivity(comparisons),
        conditions=finish.conditions(plan),
    )


def _remember_costs(plan: Plan, worker: Worker, outcomes: list[Outcome]) -> None:
    """Keep what this run measured, for the next plan's estimate."""
    from bench.run import finish

    found = finish.costs([(o.planned, o.records) for o in outcomes])
    if worker.scored:
        found["score"] = worker.seconds["score"] / worker.scored * len(worker.extractors)
    costs.remember(plan.options.cache, plan.place, found)
