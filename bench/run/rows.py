"""The rows of a run: loads the source of each, makes and scores its slices, orders its features.

Several processes make the slices of one run. Each walks over the same rows and slices from its own
starting point, and skips slices that are cached or locked by another. Rank 0 then reads all of them
in order, and makes those that a dead process left behind. A slice is the same whichever process
makes it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from filelock import Timeout
from numpy.typing import NDArray

from bench import metrics
from bench.contestants import identity, own_pipelines, source
from bench.contestants.own_sampler import OwnSampler
from bench.contestants.pipelines import Networks, device_of
from bench.contestants.sampler import Batch, Sampler
from bench.errors import UsageError
from bench.metrics.extractor import changed
from bench.results.entries import Arrays
from bench.results.hub import HUB
from bench.results.keys import Key
from bench.run import processes
from bench.run.batches import Batches, Stage
from bench.run.cache import Cache
from bench.run.folder import holds, write_images
from bench.run.metric_identities import extractors_of, feature_key
from bench.run.plan import Plan
from bench.run.processes import Process
from bench.run.progress import Advance, Reporter
from bench.run.rows_left import Planned, Slice, is_repeated
from bench.run.worker import Done, Record, Undrawable, Worker
from hypersd import hub, loop, recipe
from hypersd.hashes import Hashes
from hypersd.quiet import heard, quiet


@dataclass(frozen=True)
class Outcome:
    """A finished row: features of the scored keys, and the records of its images.

    not_scored: extractors whose features are left out, since they failed on a batch, and why.
    pictures: how many the run folder was given.
    repeated: features of the plan's `repeats`, in their order; empty where the row has none.
    """

    planned: Planned
    features: Arrays
    records: list[tuple[tuple[Key, ...], Record]]
    not_scored: list[str] = field(default_factory=list)
    pictures: int = 0
    repeated: Arrays = field(default_factory=dict)


def worker(plan: Plan) -> Worker:
    """The worker of a run: cache, device, batches, networks of the metrics."""
    device = device_of(plan.options.device, processes.here().local)
    extractors = {name: metrics.extractor(name, str(device)) for name in plan.extractors}
    for name, one in extractors.items():
        if one.identity != plan.extractors[name]:
            raise UsageError(changed(name))
    metrics.one_at_a_time(not plan.fit.resident)
    batches = Batches(device, plan.options.batch)
    made = Worker(
        Cache(plan.options.cache),
        batches,
        Networks(device, plan.options.offload),
        extractors,
        keep_going=plan.suite.keep_going,
    )
    made.teacher = partial(_teachers, plan, made)
    return made


def _teachers(plan: Plan, worker: Worker, keys: Sequence[Key]) -> NDArray[np.uint8]:
    """The teacher's own images of some keys, from the cache or made now."""
    planned = next(one for one in plan.rows if one.row.settings.method == "teacher")
    if planned.fault:
        raise UsageError(planned.fault)
    wanted, found = set(keys), dict[Key, NDArray[np.uint8]]()
    for part in planned.slices:
        if wanted.intersection(part.keys):
            # Loaded anew where need be: since it was, another contestant's UNet was on the device.
            drawer = RowSource(plan, planned, worker, search=False)
            images = worker.images(part, drawer, _uncounted).images
            assert images is not None
            found |= zip(part.keys, images, strict=True)
    return np.stack([found[key] for key in keys])


def train(plan: Plan, worker: Worker) -> float:
    """Run missing trainings, each in its folder of the cache; returns their seconds.

    One process trains alone, so that the weights do not depend on the number of processes; others
    wait.
    """
    began = time.perf_counter()
    for planned in {p.training: p for p in plan.rows if not p.trained}.values():
        quiet()
        assert planned.training is not None
        lock = worker.cache.lock("training", planned.training.name)
        with lock, processes.as_the_only_one(), hub.using(HUB):
            loop.train(
                recipe.load(planned.row.settings.weights),
                planned.training,
                device=str(worker.device),
            )
    return time.perf_counter() - began


class RowSource:
    """The source of a row's images: loaded and warmed up before the first image, and again after
    another row was loaded into the same networks.

    search: search for the row's best batch, if the command line asks for it.
    """

    def __init__(
        self, plan: Plan, planned: Planned, worker: Worker, *, search: bool = True
    ) -> None:
        self.plan, self.planned, self.worker = plan, planned, worker
        self.stage = Stage("draw", planned.row.settings.key, planned.row.size(plan.suite.size))
        is_alone = own_pipelines.is_drawn_alone(planned.row.settings)
        if is_alone:
            worker.batches.one_at_a_time(self.stage)
        self._search = search and plan.options.best_batch and not is_alone
        self._name = planned.identity, self.stage.size
        self._hashes = Hashes(worker.cache.root / "hashes.json")

    def __call__(self, keys: Sequence[Key]) -> Batch:
        """One image per key."""
        self.load()
        assert self._loaded is not None
        return self._loaded(keys)

    @property
    def _loaded(self) -> source.Source | None:
        name, found = self.worker.loaded or (None, None)
        return found if name == self._name else None

    def load(self) -> None:
        """Load it if it is not loaded, and let the worker find a batch that fits into memory."""
        metrics.leave_for_drawing(str(self.worker.device))
        if self._loaded is not None:
            return
        row, worker, size = self.planned.row, self.worker, self.stage.size
        worker.loaded = None  # drops networks that the next row does not need
        with heard() as words:
            found = source.load(row, self.plan.prompts, size, self.planned.weights, worker.networks)
        self._say(words)
        if isinstance(found, Sampler | OwnSampler):
            if self._search:
                self._find_batch(found)
            most = max(map(len, self.planned.slices))
            worker.batches.warm_up(self.stage, found.warm_up, most)
            if row.settings.compiled:
                found.warm_up(1)  # a batch of another size is compiled anew
        worker.loaded = self._name, found
        self._check()

    def check(self) -> None:
        """Raise UsageError where its files are not those that the plan names: a sampler's weights,
        or each picture of a folder."""
        if not isinstance(self._loaded, Sampler | OwnSampler):
            self._check()

    def _check(self) -> None:
        row, prompts = self.planned.row, self.plan.prompts
        identity.check_unchanged(row, prompts, self._hashes, self.planned.identity)

    def _say(self, words: list[str]) -> None:
        """Print warnings of libraries, each line once in a run, and keep them for the result."""
        said = {line for lines in self.worker.heard.values() for line in lines}
        for line in words:
            if line not in said:
                print(f"warning: {self.planned.name}: {line}")
        self.worker.heard.setdefault(self.planned.identity, words)

    def _find_batch(self, sampler: Sampler | OwnSampler) -> None:
        """Let the worker go on with the row's best batch."""
        batches, largest = self.worker.batches, max(self.planned.slices, key=len)
        tried = batches.find_best(self.stage, self.planned.identity, sampler, largest.keys)
        sizes = ", ".join(str(one.batch) for one in tried)
        best = batches.of(self.stage)
        print(f"{self.planned.name}: tried {sizes} images at once, going on with {best}")


def share(
    plan: Plan, planned: Planned, worker: Worker, reporter: Reporter, process: Process
) -> None:
    """Make this process's part of a row, into the cache."""
    drawer = RowSource(plan, planned, worker)
    left = [part for part in planned.slices if part.make or part.score]
    with reporter.bar(planned.name, planned.images) as advance, contextlib.suppress(Undrawable):
        for part in _from_own_place(left, process):
            with contextlib.suppress(Timeout):
                made = _is_to_make(part, worker.cache)
                one = _do(planned, part, worker, drawer, _uncounted, show=made, timeout=0)
                if made and part.is_shown and one.images is not None and holds(plan, plan.out):
                    write_images(plan.out, planned.name, _shown(plan, part.keys, one.images))
            advance(len(part) if part.make else 0)
    _let_go(plan, planned, worker)


def _let_go(plan: Plan, planned: Planned, worker: Worker) -> None:
    """Release the networks of a finished row if no remaining row uses its base: scoring may need
    the memory."""
    worker.done.add(planned.name)
    mine, left = planned.row.settings, [p for p in plan.rows if p.name not in worker.done]
    on_it = [p for p in left if p.row.settings.base == mine.base and p.images]
    if not any(p.row.settings.numbers == mine.numbers for p in on_it):
        worker.release()


def made(planned: Planned) -> Planned:
    """The plan of a row with nothing left to make."""
    slices = [replace(part, make=False, score=False) for part in planned.slices]
    return replace(planned, slices=slices)


def is_made(planned: Planned, worker: Worker) -> bool:
    """Whether all slices that a row needed are in the cache by now."""
    cache, seen_by = worker.cache, extractors_of(worker.extractors, planned.identity)
    kinds = [worker.extractors[name].identity for name in seen_by]
    return all(
        not _is_to_make(part, cache)
        and (not part.score or all(cache.has("features", feature_key(part.key, k)) for k in kinds))
        for part in planned.slices
    )


def _is_to_make(part: Slice, cache: Cache) -> bool:
    """Whether a plan needs its images in the cache, and no process has written them."""
    return part.make and part.is_kept and not cache.has("images", part.key)


def _uncounted(count: int) -> None:
    """Progress counts a slice when it is done, by any process."""


def _from_own_place(left: Sequence[Slice], process: Process) -> Iterator[Slice]:
    """All of them, from this process's part on."""
    start = process.rank * len(left) // process.count
    yield from left[start:]
    yield from left[:start]


def row(plan: Plan, planned: Planned, worker: Worker, reporter: Reporter, folder: Path) -> Outcome:
    """Make and score the missing slices of one row, and write pictures into the run folder."""
    drawer = RowSource(plan, planned, worker)
    if planned.images:
        began = time.perf_counter()
        with worker.drawing():
            drawer.load()  # before the clock of the bar starts
        worker.seconds["generate"] += time.perf_counter() - began
    done: list[tuple[tuple[Key, ...], Done]] = []
    pictures = 0
    with reporter.bar(planned.name, planned.images) as advance:
        for part in planned.slices:
            there = part.make or worker.cache.has("images", part.key)
            show = part.is_kept and (there or part is planned.slices[0])
            one = _do(planned, part, worker, drawer, advance, show=show)
            if one.images is not None and part.is_shown:
                shown = _shown(plan, part.keys, one.images)
                pictures += len(shown)
                worker.cache.damaged += write_images(folder, planned.name, shown)
            done.append((part.keys, replace(one, images=None)))  # of 1024 px: 0.3 GB a slice
    _let_go(plan, planned, worker)
    shipped = planned.shipped
    features = shipped if shipped is not None else _in_order(plan, done, plan.keys)
    repeated = _in_order(plan, done, plan.repeats) if is_repeated(planned.row) else {}
    failed = [f"{planned.name}: {why}" for _, one in done for why in one.failed.values()]
    records = [(keys, one.record) for keys, one in done]
    return Outcome(planned, features, records, failed, pictures, repeated)


def _do(
    planned: Planned,
    part: Slice,
    worker: Worker,
    drawer: RowSource,
    advance: Advance,
    *,
    show: bool,
    timeout: float = -1,
) -> Done:
    """One slice of a row, from the cache or made now.

    show: its pictures, too, where they are kept: of the first slice, and wherever they are there
    anyway; those of which only features are left in the cache are not drawn again for it. Raises
    filelock.Timeout where another process holds it for longer than `timeout` seconds; below 0 waits
    for ever.
    """
    if planned.shipped is not None:
        return worker.images(part, drawer, advance, timeout=timeout)
    return worker.features(part, drawer, advance, show=show, timeout=timeout)


def _shown(
    plan: Plan, keys: tuple[Key, ...], images: NDArray[np.uint8]
) -> dict[int, NDArray[np.uint8]]:
    """The pictures that a report may show, by prompt: scored ones of the first seed."""
    first, limit = plan.suite.seeds[0], plan.options.limit or len(plan.prompts.texts)
    pairs = zip(keys, images, strict=True)
    return {k.index: image for k, image in pairs if k.seed == first and k.index < limit}


def _in_order(
    plan: Plan, done: list[tuple[tuple[Key, ...], Done]], wanted: Sequence[Key]
) -> Arrays:
    """Features of exactly these keys, in their order, by extractors that had no failure; empty
    where no key is wanted."""
    places = {key: i for i, key in enumerate(key for keys, _ in done for key in keys)}
    rows = [places[key] for key in wanted]
    return {
        name: np.concatenate([one.features[name] for _, one in done])[rows]
        for name in plan.extractors
        if rows and all(name in one.features for _, one in done)
    }
