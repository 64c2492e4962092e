"""Finished rows -> the summary of a run: scores, speed, comparisons, claims, ledger."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError
from bench.metrics.base import Metric
from bench.metrics.extractor import changed
from bench.results.keys import Key
from bench.results.pictures import image_files
from bench.results.summary import Contestant, SecondsPerImage, Summary, TriedBatch
from bench.run import counted, environment, extra_trainings, known_answers, processes
from bench.run.drawing import Drawn
from bench.run.folder import write_features, write_scores
from bench.run.kept_texts import with_kept_texts
from bench.run.metric_identities import metric_of
from bench.run.missing_rows import missing_rows
from bench.run.plan import Plan
from bench.run.rows import Outcome
from bench.run.scoring import beside_teacher, scored
from bench.run.timing import of_batches
from bench.run.worker import Record, Worker
from bench.statistics.claims import claim_verdicts, waiting
from bench.statistics.comparisons import Scored, compare, refused, sensitivity
from bench.statistics.metrics import spec
from bench.statistics.over_trainings import over_trainings
from bench.statistics.result import to_arrays
from bench.statistics.step_response import step_responses

NAMED = 20  # prompts named one by one


def summarise(
    drawn: Drawn, worker: Worker, train_seconds: float, folder: Path, known: dict[str, Scored]
) -> Summary:
    """The result of the rows that are done; what is not is named in it.

    known: rows by name that were scored before; those that are now are added, and their scores and
    features written into the run's folder.
    """
    began = time.perf_counter()
    plan, outcomes = drawn.plan, drawn.outcomes
    planned = [with_kept_texts(_as_planned(plan, name), worker.cache) for name in plan.metrics]
    metrics = beside_teacher(plan, outcomes, planned)
    for one in outcomes:
        if one.planned.name not in known:
            known[one.planned.name] = _scored(plan, one, metrics, folder)
    rows = [known[one.planned.name] for one in outcomes]
    comparisons = compare(rows, plan.suite.margins, plan.suite.primary)
    own = replace(plan, rows=[one.planned for one in outcomes])
    others = extra_trainings.find(own, rows, metrics)
    missing = missing_rows(drawn, {**plan.costs, **costs(outcomes, worker)})
    is_whole = all(row.why for row in missing)
    seconds = {"train": train_seconds, **worker.seconds}
    seconds["score"] += time.perf_counter() - began
    return Summary(
        suite=plan.suite.name,
        protocol=plan.protocol,
        environment=_environment(plan, worker),
        seconds={name: round(value, 2) for name, value in seconds.items()},
        contestants=[one.contestant for one in rows],
        comparisons=comparisons,
        claims=claim_verdicts(plan.suite.claims, rows, plan.suite.margins, others.trainings)
        if is_whole
        else waiting(plan.suite.claims),
        ledger=_ledger(drawn, worker, metrics, rows, others.refused, seconds, is_whole=is_whole),
        title=plan.suite.title,
        limit=plan.options.limit,
        sensitivity=sensitivity(comparisons),
        conditions=_conditions(plan),
        over_trainings=over_trainings(rows, others.trainings),
        missing=missing,
        step_response=step_responses(rows, plan.suite.margins),
    )


def _ledger(
    drawn: Drawn,
    worker: Worker,
    metrics: Sequence[Metric],
    rows: Sequence[Scored],
    not_taken: Sequence[str],
    seconds: Mapping[str, float],
    *,
    is_whole: bool,
) -> dict[str, Any]:
    """The ledger: what qualifies the numbers. not_taken: why claims leave trainings out."""
    plan, outcomes = drawn.plan, drawn.outcomes
    return {
        **_faults(plan, outcomes),
        "damaged_and_made_again": worker.cache.damaged,
        "left_out": plan.notes,
        "drawn_unlike_its_card": plan.unlike_cards,
        "drawn_by_its_own_call": plan.own_calls,
        "settings_read_at": plan.settings_sources,
        "known_answers": known_answers.said(plan.suite, plan.metrics),
        "warnings": _heard(outcomes),
        "prompts": plan.prompts.notes,
        "not_as_planned": counted.not_as_planned(plan, outcomes, seconds) if is_whole else [],
        "doubtful_intervals": [
            f"{row.contestant.name}: {metric}: {result.doubt}"
            for row in rows
            for metric, result in row.results.items()
            if result.doubt
        ],
        "not_compared": [*refused(rows), *not_taken],
        "not_scored": [
            *(why for outcome in outcomes for why in outcome.not_scored),
            *(why for row in rows for why in row.failed),
        ],
        "out_of_memory": worker.batches.halved,
        "pictures": [line for o in outcomes for line in _converted(plan.keys, o)],
        "truncated_by_metric": truncated(metrics, plan.keys),
        "by_contestant": {o.planned.name: _counts(plan.keys, o) for o in outcomes},
    }


def _as_planned(plan: Plan, name: str) -> Metric:
    """A metric. Raises UsageError where its files, or its reference's, have changed."""
    found = metric_of(plan.suite, name)
    if found.identity != plan.metrics[name]:
        raise UsageError(changed(f"metric {name!r}"))
    return found


def _scored(plan: Plan, outcome: Outcome, metrics: Sequence[Metric], folder: Path) -> Scored:
    """A row with its metrics. Its scores are written into the run folder, and the features of
    metrics without scores of single images (distances, recall)."""
    row = scored(plan, outcome, _contestant(plan, outcome), metrics)
    write_scores(folder, row.contestant.name, to_arrays(row.results))
    seen = {m.extractor for m in metrics
            if m.name in row.results and row.results[m.name].per_prompt is None
            and not spec(m.name).of_repeats}  # fmt: skip
    distances = {name: outcome.features[name] for name in sorted(seen)}
    write_features(folder, row.contestant.name, distances, plan.keys)
    return row


def _contestant(plan: Plan, outcome: Outcome) -> Contestant:
    """A row of the result, its metrics still to come."""
    planned, records = outcome.planned, [record for _, record in outcome.records]
    row, card = planned.row, planned.card
    peaks = [record["peak_bytes"] for record in records if record.get("timings")]
    return Contestant(
        name=row.name,
        method=row.settings.method,
        steps=row.steps,
        nfe=counted.nfe(outcome),
        identity=planned.identity,
        n=len(plan.keys),
        seeds=list(plan.suite.seeds),
        licence=card.licence,
        seconds_per_image=speed(records),
        peak_memory_bytes=max((peak for peak in peaks if peak), default=None),
        training=card.training,
        precomputed=planned.shipped is not None,
        seconds_alone=speed([{"timings": record.get("alone", ())} for record in records]),
        tried_batches=_tried(records),
    )


def _tried(records: Sequence[Record]) -> list[TriedBatch]:
    """The tried batches, recorded in the first slice that was drawn with `batch=best`."""
    found = (record["tried"] for record in records if record.get("tried"))
    return [TriedBatch(**one) for one in next(found, [])]


def speed(records: Sequence[Mapping[str, Any]]) -> SecondsPerImage | None:
    """Seconds per image over all batches of the commonest size; None where nothing was drawn.

    Images from the cache count with the time that their making took.
    """
    timings = [timing for record in records for timing in record.get("timings", ())]
    if not timings:
        return None
    sizes = [timing["n"] for timing in timings]
    batch = max(set(sizes), key=lambda n: (sizes.count(n), n))
    same = [timing for timing in timings if timing["n"] == batch]
    return of_batches([{s: t / batch for s, t in timing.items() if s != "n"} for timing in same],
                      batch)  # fmt: skip


def costs(outcomes: Sequence[Outcome], worker: Worker) -> dict[str, float]:
    """Seconds per network evaluation, decoded image and scored image, as measured."""
    unet, vae = [], []
    for outcome in outcomes:
        found, nfe = speed([record for _, record in outcome.records]), counted.nfe(outcome)
        if found is not None and nfe:
            unet.append(found.unet / nfe)
            vae.append(found.vae + found.text + found.rest)
    measured = {"unet": float(np.median(unet)), "vae": float(np.median(vae))} if unet else {}
    if worker.scored:
        measured["score"] = worker.seconds["score"] / worker.scored * len(worker.extractors)
    return measured


def _environment(plan: Plan, worker: Worker) -> dict[str, Any]:
    batch = "best" if plan.options.best_batch else worker.batches.first(plan.suite.size)
    return {
        **environment.describe(worker.device, batch),
        **({"command": plan.options.call} if plan.options.call else {}),
        "precision": _precisions(plan),
        "compiled": plan.options.compiled,
        "processes": processes.here().count,
    }


def _precisions(plan: Plan) -> str:
    """The precisions that contestants are drawn in, in the suite's order."""
    drawn = [one for one in plan.suite.contestants if one.steps] or plan.suite.contestants[:1]
    return ", ".join(dict.fromkeys(one.numbers for one in drawn))


def _heard(outcomes: Sequence[Outcome]) -> list[str]:
    """Warnings of libraries while contestants were loaded: each line once, with the first
    contestant."""
    found: dict[str, str] = {}
    for outcome in outcomes:
        for _, record in outcome.records:
            for line in record.get("warnings", ()):
                found.setdefault(line, f"{outcome.planned.name}: {line}")
    return list(found.values())


def _conditions(plan: Plan) -> dict[str, Any]:
    """The part of the protocol that published tables state."""
    suite = plan.suite
    return {
        "base": suite.contestants[0].base,
        "prompts": plan.prompts.name,
        "prompts_revision": plan.prompts.revision,
        "n": len({key.index for key in plan.keys}),
        "seeds": list(suite.seeds),
        "size": suite.size,
        "sizes": {row.name: row.settings.size for row in suite.rows if row.settings.size},
        "preset": suite.preset or None,
    }


def _faults(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
    """The images that are not finite, black, or of a prompt that the base cuts, one by one."""
    wanted = set(plan.keys)
    names = {"not_finite": "broken", "black": "black", "truncated_prompts": "truncated"}
    found = {
        name: [
            f"{outcome.planned.name}: prompt {key.index}, seed {key.seed}"
            for outcome in outcomes
            for key in _marked(outcome, mark)
            if key in wanted
        ]
        for name, mark in names.items()
    }
    found["black"] = [name for name in found["black"] if name not in found["not_finite"]]
    return found


def _converted(keys: Sequence[Key], outcome: Outcome) -> Iterator[str]:
    """Conversions of files in a folder of pictures, with their number."""
    planned, wanted, counts = outcome.planned, set(keys), Counter[str]()
    for part, record in outcome.records:
        for note, places in record.get("notes", {}).items():
            counts[note] += sum(part[place] in wanted for place in places)
    for note, count in sorted(counts.items()):
        yield (f"{planned.name}, images={planned.row.settings.weights}: {count} of {len(keys)} "
               f"pictures {note}")  # fmt: skip


def _marked(outcome: Outcome, mark: str) -> Iterator[Key]:
    """The images that records mark as "broken", "black" or "truncated", slice by slice."""
    for keys, record in outcome.records:
        yield from (keys[i] for i in record.get(mark, ()))


def truncated(metrics: Iterable[Metric], keys: Sequence[Key]) -> dict[str, str]:
    """Prompts that each metric's network cuts: how many, of how many, and which.

    Metrics that read no prompt, cut none, or cannot say are left out. A network's own limit
    counts: 77 tokens of CLIP, 35 of ImageReward, 36 of the world's CLIP.
    """
    prompts = {key.index: key.prompt for key in keys}
    found = {}
    for metric in metrics:
        says = getattr(metric, "truncated", None)
        cut = None if says is None else says(list(prompts.values()))
        if cut and any(cut):
            which = [index for index, is_cut in zip(prompts, cut, strict=True) if is_cut]
            found[metric.name] = _words(which, len(prompts))
    return found


def _counts(keys: Sequence[Key], outcome: Outcome) -> dict[str, int]:
    """How many images of a contestant: were asked for (`images`); lack a score, since a metric
    failed (`not_scored`); are in its folder, but of no prompt of the run (`dropped`); are `black`
    or `not_finite`; were drawn from prompts that the base cuts (`prompts_cut`); went into the run
    folder (`pictures`, so that a report can say how many files are missing).

    Of a row of shipped features only the images that are drawn count.
    """
    wanted = set(keys)
    broken, black, cut = (
        wanted.intersection(_marked(outcome, mark)) for mark in ("broken", "black", "truncated")
    )
    return {
        "images": len(keys),
        "not_scored": len(keys) if outcome.not_scored else 0,
        "dropped": _dropped(outcome, keys),
        "black": len(black - broken),
        "not_finite": len(broken),
        "prompts_cut": len(cut),
        "pictures": outcome.pictures,
    }


def _dropped(outcome: Outcome, keys: Sequence[Key]) -> int:
    """Pictures of a folder that no prompt of the run asks for."""
    settings = outcome.planned.row.settings
    if settings.source != "images":
        return 0
    asked = {key.index for key in keys}
    return sum(int(path.stem) not in asked for path in image_files(Path(settings.weights)))


def _words(which: Sequence[int], of: int) -> str:
    share = 100 * len(which) / of
    named = ", ".join(map(str, which[:NAMED]))
    more = f" and {len(which) - NAMED:,} more" if len(which) > NAMED else ""
    return f"{len(which):,} of {of:,} prompts ({share:.1f} %): {named}{more}"
