"""One row of a run: what makes its images, its slices made and scored, its features in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.results import summary
from bench.results.entries import Arrays
from bench.results.keys import Key, slice_key
from bench.run import processes
from bench.run.cache import Store
from bench.run.folder import write_images
from bench.run.plan import Plan
from bench.run.progress import Advance, Reporter
from bench.run.rows_left import Planned, is_repeated

if TYPE_CHECKING:
    from bench.contestants.sampler import Sampler
    from bench.contestants.source import Source
    from bench.run.worker import Done, Worker


@dataclass(frozen=True)
class Outcome:
    """One row when its work is done: features of the scored keys, and how images were made.

    not_scored: extractors whose features are left out, since they failed on a batch, and why.
    pictures: how many the run folder was given.
    repeated: features of the plan's `repeats`, in their order; empty where the row has none.
    """

    planned: Planned
    features: Arrays
    records: list[tuple[tuple[Key, ...], dict[str, Any]]]
    not_scored: list[str] = field(default_factory=list)
    pictures: int = 0
    repeated: Arrays = field(default_factory=dict)


def worker(plan: Plan) -> Worker:
    """What all rows of a run share: cache, device, batch, networks of the metrics."""
    from bench.contestants.pipelines import device_of
    from bench.metrics import extractor
    from bench.run.needs import pictures_at_once
    from bench.run.worker import Worker

    device = device_of(plan.options.device, processes.here().local)
    made = Worker(
        store=Store(plan.options.cache),
        size=plan.suite.size,
        batch=plan.options.batch or pictures_at_once(device.type, plan.suite.size),
        device=device,
        extractors={name: extractor(name, str(device)) for name in plan.extractors},
    )
    made.teacher = partial(_teachers, plan, made)
    return made


def _teachers(plan: Plan, worker: Worker, keys: Sequence[Key]) -> NDArray[np.uint8]:
    """The teacher's own images of some keys, from the cache or made now."""
    planned = next(one for one in plan.rows if one.row.settings.method == "teacher")
    wanted, found = set(keys), dict[Key, NDArray[np.uint8]]()
    for number in range(len(planned.pieces)):
        part = planned.pieces[number]
        if wanted.intersection(part):
            # Loaded anew where need be: since it was, another contestant may have taken its place.
            make = source(plan, planned, worker, search=False)
            done = worker.slice(planned.identity, part, make, lambda count: None, show=True,
                                size=planned.row.size(plan.suite.size), score=False)  # fmt: skip
            assert done.images is not None
            found |= zip(part, done.images, strict=True)
    return np.stack([found[key] for key in keys])


def train(plan: Plan, worker: Worker) -> float:
    """Train what is missing, each in its folder of the cache; returns the seconds it took.

    By one process, whose share does not depend on how many there are; others wait.
    """
    began = time.perf_counter()
    for planned in {p.training: p for p in plan.rows if not p.trained}.values():
        from bench.hub import HUB
        from hypersd import hub, loop, recipe
        from hypersd.quiet import quiet

        quiet()
        assert planned.training is not None
        lock = worker.store.lock("training", planned.training.name)
        with lock, processes.alone(), hub.using(HUB):
            loop.train(
                recipe.load(planned.row.settings.weights),
                planned.training,
                device=str(worker.device),
            )
    return time.perf_counter() - began


def row(plan: Plan, planned: Planned, worker: Worker, reporter: Reporter, folder: Path) -> Outcome:
    """Make and score what is left of one row, and put pictures into the run folder."""
    shipped, name = planned.shipped, planned.row.name
    make = source(plan, planned, worker)
    if planned.images:
        began = time.perf_counter()
        make()  # loads before the clock of the bar starts
        worker.seconds["generate"] += time.perf_counter() - began
    done: list[tuple[tuple[Key, ...], Done]] = []
    pictures = 0
    with reporter.bar(name, planned.images) as advance:
        for number, keys in enumerate(planned.pieces):
            one = piece(plan, planned, number, worker, make, advance)
            if one.images is not None:
                shown = _shown(plan, keys, one.images)
                pictures += len(shown)
                worker.store.damaged += write_images(folder, name, shown)
            done.append((keys, one))
    features = shipped if shipped is not None else _scored(plan, done, plan.keys)
    repeated = _scored(plan, done, plan.repeats) if is_repeated(planned.row) else {}
    failed = [f"{name}: {why}" for _, one in done for why in one.failed.values()]
    records = [(keys, one.record) for keys, one in done]
    return Outcome(planned, features, records, failed, pictures, repeated)


def piece(
    plan: Plan,
    planned: Planned,
    number: int,
    worker: Worker,
    make: Callable[[], Source],
    advance: Advance,
    *,
    timeout: float = -1,
) -> Done:
    """One slice of a row, from the cache or made now. Raises filelock.Timeout where another
    process is at it for longer than `timeout` seconds; below 0 it is waited for."""
    size = planned.row.size(plan.suite.size)
    return worker.slice(
        planned.identity,
        planned.pieces[number],
        make,
        advance,
        show=_wanted(planned, number, worker, size),
        size=size,
        score=planned.shipped is None,
        keep=planned.row.settings.source != "images",
        timeout=timeout,
    )


def _wanted(planned: Planned, number: int, worker: Worker, size: int) -> bool:
    """Whether a slice's pictures go into the run folder: the first ones, and all that are there
    anyway. Those that only the cache of features remembers are not drawn again for it."""
    keys = planned.pieces[number]
    there = worker.store.has("images", slice_key(planned.identity, keys, size))
    return number == 0 or there or keys in planned.make


def _shown(
    plan: Plan, piece: tuple[Key, ...], images: NDArray[np.uint8]
) -> dict[int, NDArray[np.uint8]]:
    """The pictures that a report may show, by prompt: scored ones of the first seed."""
    first, limit = plan.suite.seeds[0], plan.options.limit or len(plan.prompts.texts)
    pairs = zip(piece, images, strict=True)
    return {k.index: image for k, image in pairs if k.seed == first and k.index < limit}


def source(
    plan: Plan, planned: Planned, worker: Worker, *, search: bool = True
) -> Callable[[], Source]:
    """What makes the row's images, loaded at the first call and warmed up.

    search: for the row's best batch, where the command line asks for it.
    """
    from bench.contestants import source
    from bench.contestants.sampler import Sampler

    @cache
    def load() -> Source:
        trained = None
        if planned.training is not None:
            trained = source.trained_weights(planned.training / "final")
        found = source.source(
            planned.row, plan.prompts, planned.row.size(plan.suite.size), trained, worker.device
        )
        if isinstance(found, Sampler):
            if search and plan.options.best_batch:
                _find_batch(plan, planned, worker, found)
            worker.warm_up(found.warm_up, max(map(len, planned.pieces)))
            if planned.row.settings.compiled:
                found.warm_up(1)  # a batch of another size is compiled anew
        return found

    return load


def _find_batch(plan: Plan, planned: Planned, worker: Worker, sampler: Sampler) -> None:
    """Let the worker go on with the row's best batch, tried once in a run.

    Only CUDA tells that its memory ran out, another system may end the process: elsewhere nothing
    larger than the device's default is tried.
    """
    from bench.run import best_batch
    from bench.run.needs import pictures_at_once

    if planned.identity not in worker.tried:
        worker.batch = 1
        worker.warm_up(sampler.warm_up, 1)  # refuses where not even one image fits
        keys, kind = max(planned.pieces, key=len), worker.device.type
        size = planned.row.size(plan.suite.size)
        most = len(keys) if kind == "cuda" else pictures_at_once(kind, size)
        worker.tried[planned.identity] = best_batch.tried(sampler, keys, most)
    tried = worker.tried[planned.identity]
    worker.batch = summary.best_batch(tried)
    sizes = ", ".join(str(one.batch) for one in tried)
    print(f"{planned.row.name}: tried {sizes} images at once, going on with {worker.batch}")


def _scored(plan: Plan, done: list[tuple[tuple[Key, ...], Done]], wanted: Sequence[Key]) -> Arrays:
    """Features of exactly these keys, in their order, by extractors that had no failure; empty
    where no key is wanted."""
    places = {key: i for i, key in enumerate(key for piece, _ in done for key in piece)}
    rows = [places[key] for key in wanted]
    return {
        name: np.concatenate([one.features[name] for _, one in done])[rows]
        for name in plan.extractors
        if rows and all(name in one.features for _, one in done)
    }
