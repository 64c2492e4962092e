"""A plan carried out: train, make images, score, compare, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bench import costs, precomputed, runfolder, summary
from bench.errors import UsageError
from bench.keys import Key, slice_key
from bench.plan import Plan, Planned, judge
from bench.progress import Reporter, console, show_plan
from bench.store import Arrays, Store

if TYPE_CHECKING:
    from bench.contestants import Source
    from bench.report.forms import Written
    from bench.work import Done, Worker

FAILURES = ("not_finite", "black")


@dataclass(frozen=True)
class Outcome:
    """One row when its work is done: features of the scored keys, and how images were made."""

    planned: Planned
    features: Arrays
    records: list[tuple[tuple[Key, ...], dict[str, Any]]]


def run(plan: Plan) -> int:
    """Do what the plan says; 0, or 4 where some images failed.

    Raises UsageError where something is missing: all of it in one line.
    """
    out = console()
    _refuse(plan, out)
    if not plan.is_known:
        from bench.fetching import fetched

        show_plan(plan, out)
        plan = fetched(plan, out)
        _refuse(plan, out)
    with runfolder.claim(plan) as folder:
        show_plan(plan, out)
        worker = _worker(plan)
        train_seconds = _train(plan, worker)
        reporter = Reporter(out)
        with reporter.live():
            outcomes = [_row(plan, planned, worker, reporter, folder) for planned in plan.rows]
        _export(plan, outcomes)
        found = _summary(plan, outcomes, worker, train_seconds, folder)
        _remember_costs(plan, worker, outcomes)
        _show(found, _write(found, folder), folder, out)
    return 4 if any(found.ledger.get(name) for name in FAILURES) else 0


def _refuse(plan: Plan, out: Console) -> None:
    """Raise UsageError where something is missing; where it may be much, it is listed first."""
    if not plan.missing:
        return
    if plan.suite.published:
        show_plan(plan, out)
        raise UsageError(f"{len(plan.missing)} of what this run needs is missing, as listed above")
    raise UsageError("; ".join(plan.missing))


def _write(found: summary.Summary, folder: Path) -> Written:
    """result.json and the report in all its forms; result.json once more, to hold the seconds
    that the report took."""
    from bench.report import forms

    began = time.perf_counter()
    summary.write(found, folder / "result.json")
    written = forms.render(found, folder)
    found.seconds["report"] = round(time.perf_counter() - began, 2)
    summary.write(found, folder / "result.json")
    return written


def _show(found: summary.Summary, written: Written, folder: Path, out: Console) -> None:
    from bench.report.finished import show

    show(found, written, out)
    out.print(f"result: {folder / 'result.json'}", highlight=False, soft_wrap=True)


def _worker(plan: Plan) -> Worker:
    from bench.metrics import extractor
    from bench.models import device_of
    from bench.needs import pictures_at_once
    from bench.work import Worker

    device = device_of(plan.options.device)
    return Worker(
        store=Store(plan.options.cache),
        size=plan.suite.size,
        batch=plan.options.batch or pictures_at_once(device.type, plan.suite.size),
        device=device,
        extractors={name: extractor(name, str(device)) for name in plan.extractors},
    )


def _train(plan: Plan, worker: Worker) -> float:
    """Train what is missing, each in its folder of the cache; returns the seconds it took."""
    began = time.perf_counter()
    for planned in {p.training: p for p in plan.rows if not p.trained}.values():
        from bench.models import quiet
        from hypersd import loop, recipe

        quiet()
        assert planned.training is not None
        with worker.store.lock("training", planned.training.name):
            loop.train(
                recipe.load(planned.row.settings.weights),
                planned.training,
                device=str(worker.device),
            )
    return time.perf_counter() - began


def _row(plan: Plan, planned: Planned, worker: Worker, reporter: Reporter, folder: Path) -> Outcome:
    """Make and score what is left of one row, and put pictures into the run folder."""
    shipped, name = planned.shipped, planned.row.name
    source = _source(plan, planned, worker)
    if planned.images:
        began = time.perf_counter()
        source()  # loads before the clock of the bar starts
        worker.seconds["generate"] += time.perf_counter() - began
    done: list[tuple[tuple[Key, ...], Done]] = []
    with reporter.bar(name, planned.images) as advance:
        for number, piece in enumerate(planned.pieces):
            one = worker.slice(
                planned.identity,
                piece,
                source,
                advance,
                show=_wanted(planned, number, worker, plan.suite.size),
                score=shipped is None,
                keep=planned.row.settings.source != "images",
            )
            if one.images is not None:
                runfolder.write_images(folder, name, _shown(plan, piece, one.images))
            done.append((piece, one))
    features = shipped if shipped is not None else _scored(plan, done)
    return Outcome(planned, features, [(piece, one.record) for piece, one in done])


def _wanted(planned: Planned, number: int, worker: Worker, size: int) -> bool:
    """Whether a slice's pictures go into the run folder: the first ones, and all that are there
    anyway. Those that only the cache of features remembers are not drawn again for it."""
    piece = planned.pieces[number]
    there = worker.store.has("images", slice_key(planned.identity, piece, size))
    return number == 0 or there or piece in planned.make


def _shown(
    plan: Plan, piece: tuple[Key, ...], images: NDArray[np.uint8]
) -> dict[int, NDArray[np.uint8]]:
    """The pictures that a report may show, by prompt: scored ones of the first seed."""
    first, limit = plan.suite.seeds[0], plan.options.limit or len(plan.prompts.texts)
    pairs = zip(piece, images, strict=True)
    return {k.index: image for k, image in pairs if k.seed == first and k.index < limit}


def _source(plan: Plan, planned: Planned, worker: Worker) -> Callable[[], Source]:
    """What makes the row's images, loaded at the first call and warmed up."""
    from bench import contestants
    from bench.sampling import Sampler

    @cache
    def load() -> Source:
        trained = None
        if planned.training is not None:
            trained = contestants.trained_weights(planned.training / "final")
        found = contestants.source(
            planned.row, plan.prompts, plan.suite.size, trained, worker.device
        )
        if isinstance(found, Sampler):
            worker.warm_up(found.warm_up, max(map(len, planned.pieces)))
        return found

    return load


def _scored(plan: Plan, done: list[tuple[tuple[Key, ...], Done]]) -> Arrays:
    """Features of exactly the scored keys, in their order."""
    wanted = set(plan.keys)
    rows = np.array([key in wanted for piece, _ in done for key in piece])
    return {
        name: np.concatenate([one.features[name] for _, one in done])[rows]
        for name in plan.extractors
    }


def _export(plan: Plan, outcomes: list[Outcome]) -> None:
    root = plan.options.export
    if root is None:
        return
    for outcome in outcomes:
        row = outcome.planned.row
        if precomputed.is_shipped(row):
            path = precomputed.export(
                root, row, outcome.planned.identity, plan.prompts, plan.suite.seeds,
                plan.suite.size, plan.extractors, outcome.features,
            )  # fmt: skip
            print(f"exported {path}")


def _summary(
    plan: Plan, outcomes: list[Outcome], worker: Worker, train_seconds: float, folder: Path
) -> summary.Summary:
    from bench import environment, ledger, results
    from bench.claims_verdicts import judge as verdicts
    from bench.comparisons import Entry, compare, refused, score, sensitivity

    began = time.perf_counter()
    judges = [judge(plan.suite, name) for name in plan.metrics]
    prompts, clusters = [k.prompt for k in plan.keys], [k.index for k in plan.keys]
    scored = []
    for outcome in outcomes:
        contestant = results.contestant(plan, outcome.planned, outcome.records)
        scored.append(score(Entry(contestant, outcome.features, prompts, clusters), judges))
        found = scored[-1].results
        runfolder.write_scores(folder, contestant.name, results.per_prompt(found))
        seen = {m.extractor for m in judges if m.name in found and found[m.name].kind == "distance"}
        distances = {name: outcome.features[name] for name in sorted(seen)}
        runfolder.write_features(folder, contestant.name, distances, plan.keys)
    comparisons = compare(scored, plan.suite.margins)
    seconds = {"train": train_seconds, **worker.seconds}
    seconds["score"] += time.perf_counter() - began
    return summary.Summary(
        suite=plan.suite.name,
        protocol=plan.protocol,
        environment=environment.describe(worker.device, worker.batch),
        seconds={name: round(value, 2) for name, value in seconds.items()},
        contestants=[one.contestant for one in scored],
        comparisons=comparisons,
        claims=verdicts(plan.suite.claims, scored, plan.suite.margins),
        ledger={
            **results.ledger(plan, [(o.planned, o.records) for o in outcomes], worker.store),
            "not_compared": refused(scored),
            "out_of_memory": worker.halved,
            "truncated_by_metric": ledger.truncated(judges, plan.keys),
        },
        title=plan.suite.title,
        limit=plan.options.limit,
        sensitivity=sensitivity(comparisons),
        conditions=results.conditions(plan),
    )


def _remember_costs(plan: Plan, worker: Worker, outcomes: list[Outcome]) -> None:
    """Keep what this run measured, for the next plan's estimate."""
    from bench import results

    found = results.costs([(o.planned, o.records) for o in outcomes])
    if worker.scored:
        found["score"] = worker.seconds["score"] / worker.scored * len(worker.extractors)
    costs.remember(plan.options.cache, plan.place, found)
