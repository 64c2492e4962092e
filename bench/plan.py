"""What a run will do, and what is missing to do it. Nothing is made here, torch is not needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench import catalogue, costs, files, identity, keys, needs, precomputed, prompts
from bench.errors import UsageError
from bench.hub import NotFetched
from bench.identity import Hashes
from bench.keys import Key, digest
from bench.needs import Needs
from bench.options import Options
from bench.prompts import PromptSet
from bench.settings import ANCHORS, Row
from bench.store import Arrays, Store
from bench.suite import Suite

if TYPE_CHECKING:
    from bench.metrics import Metric

AGAINST = "against="  # and an identity: how the name of an extractor that compares ends
PNG = 0.35  # of a picture's bytes, in the run folder beside the cache; measured at 1024 px
SHOWN = 24  # prompts whose pictures a report can show, and the live pictures of a shipped row


@dataclass(frozen=True)
class Planned:
    """One row of the result and the slices of work that are left of it.

    pieces: the slices it needs.  make, score: those whose images, or only features, are missing.
    shipped: features that came with the project, one row for each scored key.
    training: the folder of a recipe's training; trained: its weights are there.
    """

    row: Row
    identity: str
    pieces: list[tuple[Key, ...]]
    make: list[tuple[Key, ...]] = field(default_factory=list)
    score: list[tuple[Key, ...]] = field(default_factory=list)
    shipped: Arrays | None = None
    training: Path | None = None
    trained: bool = True

    @property
    def images(self) -> int:
        """Images to make."""
        return sum(map(len, self.make))

    @property
    def evaluations(self) -> int:
        """Network evaluations to make, over all images."""
        return self.images * (self.row.nfe or 0)


@dataclass(frozen=True)
class Plan:
    """A run before it happens.

    keys: the scored keys.  extractors, metrics: identities by name, as far as they could be read.
    missing: what a run lacks, a clause each.  notes: what was left out of the suite, and why.
    needs: downloads, memory and more of a suite on published checkpoints.  evaluators: what the
    metrics will fetch.
    """

    suite: Suite
    options: Options
    prompts: PromptSet
    keys: list[Key]
    rows: list[Planned]
    extractors: Mapping[str, str]
    metrics: Mapping[str, str]
    missing: list[str]
    notes: list[str]
    costs: Mapping[str, float]
    needs: Needs = field(default_factory=Needs)
    evaluators: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether nothing must be fetched before it is known which images and scores it makes."""
        return not self.needs.to_fetch and not self.evaluators

    @property
    def place(self) -> str:
        """What its measured seconds are kept under."""
        return _place(self.suite, self.needs)

    @cached_property
    def protocol(self) -> str:
        """The protocol identity: what must be equal before two numbers are compared."""
        texts = [key.prompt for key in self.keys]
        seeds, size = list(self.suite.seeds), self.suite.size
        return digest([texts, seeds, size, dict(self.metrics)])[:16]

    @cached_property
    def contestants(self) -> dict[str, str]:
        """Contestant identities by row."""
        return {planned.row.name: planned.identity for planned in self.rows}

    @property
    def out(self) -> Path:
        """The run folder."""
        if self.options.out is not None:
            return self.options.out
        return Path("runs") / f"{self.suite.name}-{digest([self.protocol, self.contestants])[:8]}"

    @property
    def seconds(self) -> float:
        """An estimate of the whole run."""
        total = 0.0
        for planned in self.rows:
            per_image = planned.evaluations / max(1, planned.images) * self.costs["unet"]
            model = planned.row.settings.source not in (*ANCHORS, "images")
            per_image += self.costs["vae"] if model else self.costs["render"]
            per_image *= (planned.row.size(self.suite.size) / self.suite.size) ** 2
            total += planned.images * per_image + _count(planned.score) * self.costs["score"]
            total += _training_seconds(planned, self.costs["train"])
        return total

    def show(self) -> None:
        """Print the plan."""
        from bench.progress import show_plan

        show_plan(self)


def make(suite: Suite, options: Options) -> Plan:
    """The plan of a suite. Raises UsageError for prompts that cannot be read."""
    chosen, missing = _prompts(suite)
    suite, notes = _fitting(suite, chosen)
    notes += [f"{key} has nothing at these numbers of steps" for key in suite.absent]
    store = Store(options.cache)
    hashes = Hashes(options.cache / "hashes.json")
    suite = _with_teacher(suite, chosen, hashes)
    metrics, extractors, evaluators, faults = _judges(suite)
    missing += faults
    everything = keys.ordered(chosen.texts, suite.seeds)
    limit = options.limit if (options.limit or 0) < len(chosen.texts) else None
    options = replace(options, limit=limit)
    scored = [key for key in everything if limit is None or key.index < limit]
    pieces = keys.needed(keys.slices(everything), limit)
    rows = []
    for row in suite.rows:
        foreign = row.settings.source == "images"  # holds the scored pictures and no more
        planned = Planned(row, "", keys.slices(scored) if foreign else pieces)
        try:
            planned = replace(planned, identity=identity.contestant(row, chosen, hashes))
            _check(row, scored, suite)
            planned = _work(planned, suite, options, store, chosen, scored, extractors, hashes)
        except NotFetched:
            planned = replace(planned, make=planned.pieces, score=planned.pieces)
            missing += _without_pictures(row)
        except UsageError as error:
            planned = replace(planned, identity="")
            if str(error) not in missing:
                missing.append(str(error))
        rows.append(planned)
    hashes.remember()
    found = _needs(suite, options, rows)
    place = _place(suite, found)
    seconds = {**_guessed(suite, found), **costs.measured(options.cache, place)}
    missing += found.missing
    return Plan(suite, options, chosen, scored, rows, extractors, metrics, missing,
                [*notes, *found.notes], seconds, found, evaluators)  # fmt: skip


def _prompts(suite: Suite) -> tuple[PromptSet, list[str]]:
    """The prompts; stand-ins where a suite on published checkpoints lacks them as well as much
    else, so that all of it is said at once."""
    try:
        return prompts.load(suite.prompt_set, suite.n), []
    except UsageError as error:
        if not suite.published or suite.n is None:
            raise
        return PromptSet(suite.prompt_set, tuple(f"prompt {i}" for i in range(suite.n))), [
            str(error)
        ]


def _needs(suite: Suite, options: Options, rows: list[Planned]) -> Needs:
    """What a suite on published checkpoints needs; the world's need nothing."""
    if not suite.published:
        return Needs()
    pixels = sum(planned.images * planned.row.size(suite.size) ** 2 for planned in rows)
    kept = 3 * pixels * (1 + PNG / len(suite.seeds))
    return needs.of(
        suite.contestants,
        options.device,
        options.cache,
        round(kept),
        suite.size,
        options.batch,
    )


def _family(suite: Suite) -> str | None:
    """The shape of the networks that most of the time goes into; None for the world's."""
    if not suite.published:
        return None
    there = files.remote(suite.contestants[0].base)
    return (catalogue.family(there.repo) if there else None) or "other"


def _device(found: Needs) -> str:
    return found.device.kind if found.device else "cpu"


def _place(suite: Suite, found: Needs) -> str:
    return costs.place(_family(suite), suite.size, _device(found))


def _guessed(suite: Suite, found: Needs) -> dict[str, float]:
    return costs.guessed(_family(suite), suite.size, _device(found))


def _fitting(suite: Suite, chosen: PromptSet) -> tuple[Suite, list[str]]:
    """The suite without what prompts from a file cannot have, and a note for each of it."""
    if chosen.split is not None:
        return suite, []
    from hypersd.shapes.captions import parse

    notes = []
    kept = tuple(c for c in suite.contestants if c.source not in ANCHORS or c.weights)
    for gone in (c.key for c in suite.contestants if c not in kept):
        notes.append(f"{gone} is left out: {chosen.name} has no real pictures")
    metrics = suite.metrics
    unread = next((text for text in chosen.texts if parse(text) is None), None)
    if "faithful" in metrics and unread is not None:
        metrics = tuple(name for name in metrics if name != "faithful")
        notes.append(f"faithful is left out: {unread[:60]!r} is not a caption of shapes")
    if not kept or not metrics:
        raise UsageError(f"prompts.set={chosen.name}: leaves no contestant or no metric to run")
    return replace(suite, contestants=kept, metrics=metrics), notes


def references() -> dict[str, Path]:
    """The Frechet references that are there, by what they are of."""
    from hypersd.shapes.weights import FOLDER

    folder = FOLDER / "reference"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def judge(suite: Suite, name: str) -> Metric:
    """A metric of a suite: on the world's networks, or on published ones with its settings.

    Raises UsageError for missing weights or references, NotFetched for what a run would fetch.
    """
    from bench.metrics import metric

    if not suite.published:
        return metric(name, {**references(), **suite.metric_settings.get(name, {})})
    return metric(name, {}, suite.metric_settings.get(name, {}))


def _judges(
    suite: Suite,
) -> tuple[dict[str, str], dict[str, str], tuple[str, ...], list[str]]:
    """Identities of metrics and of extractors by name, what is to be fetched for them, and what is
    missing of them."""
    from bench.metrics import extractor

    metrics: dict[str, str] = {}
    extractors: dict[str, str] = {}
    missing: dict[str, None] = {}
    fetched: dict[str, None] = {}
    for name in suite.metrics:
        try:
            found = judge(suite, name)
            extractors[found.extractor] = extractor(found.extractor, "cpu").identity
            metrics[name] = found.identity
        except NotFetched as error:
            fetched[str(error)] = None
        except UsageError as error:
            missing[str(error)] = None
    return metrics, extractors, tuple(fetched), list(missing)


def _check(row: Row, scored: list[Key], suite: Suite) -> None:
    if row.settings.source == "images":
        from bench.pictures import check_folder

        indices = sorted({key.index for key in scored})
        check_folder(Path(row.settings.weights), indices, suite.seeds, row.size(suite.size))
    elif row.settings.source in ANCHORS and row.settings.weights:
        from bench.pictures import check_complete

        check_complete(Path(row.settings.weights), sorted({key.index for key in scored}))


def _work(
    planned: Planned,
    suite: Suite,
    options: Options,
    store: Store,
    chosen: PromptSet,
    scored: list[Key],
    extractors: Mapping[str, str],
    hashes: Hashes,
) -> Planned:
    """What is left to do for one row."""
    row, name, size = planned.row, planned.identity, planned.row.size(suite.size)
    if row.settings.source == "recipe":
        from hypersd import exports

        folder = options.cache / "trained" / identity.training(row.settings, hashes)
        planned = replace(
            planned, training=folder, trained=exports.damage(folder / "final") is None
        )
        for said in () if planned.trained else _without_pictures(row):
            raise UsageError(said)
    judges = [extractors[e] for e in judged(extractors, name)]
    is_held_against = len(judges) < len(extractors)  # then all its images are needed
    if options.precomputed and options.export is None and not is_held_against:
        found = precomputed.find(row, name, chosen, scored, size, extractors)
        if found:
            live = tuple(scored[:SHOWN])
            there = store.has("images", keys.slice_key(name, live, size))
            return replace(planned, pieces=[live], make=[] if there else [live], shipped=found)
    make, score = [], []
    for number, piece in enumerate(planned.pieces):
        key = keys.slice_key(name, piece, size)
        scores = len(judges) > 0 and all(store.has("features", feature_key(key, e)) for e in judges)
        images = row.settings.source == "images" or store.has("images", key)
        if not images and (number == 0 or not scores or is_held_against):
            make.append(piece)
        if not scores:
            score.append(piece)
    return replace(planned, make=make, score=score)


def _without_pictures(row: Row) -> list[str]:
    """What a recipe lacks to be trained on: a folder or shards of pictures, if it names such."""
    if row.settings.source != "recipe":
        return []
    from hypersd import recipe, sources

    data = recipe.load(row.settings.weights).data
    try:
        if data.keys() & {"folder", "webdataset"}:
            sources.find(data)
    except UsageError as error:
        return [f"contestants.{row.settings.key}.recipe={row.settings.weights}: {error}"]
    return []


def _with_teacher(suite: Suite, chosen: PromptSet, hashes: Hashes) -> Suite:
    """The suite whose metrics against the teacher's own images know the teacher's identity.

    Raises UsageError where it has no such contestant, or several.
    """
    from bench.metrics import PAIRED

    paired = [name for name in suite.metrics if name in PAIRED]
    teachers = [row for row in suite.rows if row.settings.method == "teacher"]
    if not paired:
        return suite
    if len(teachers) != 1:
        raise UsageError(f"metric {paired[0]!r}: needs one row of method teacher to hold images "
                         f"against; there are {len(teachers)}")  # fmt: skip
    with contextlib.suppress(UsageError):  # what it lacks is said of its row
        who = {"against": identity.contestant(teachers[0], chosen, hashes)}
        settings = {name: {**suite.metric_settings.get(name, {}), **who} for name in paired}
        return replace(suite, metric_settings={**suite.metric_settings, **settings})
    return suite


def judged(extractors: Iterable[str], identity: str) -> list[str]:
    """The extractors that see a contestant's images: none for the teacher that compares with it."""
    return [name for name in extractors if not name.endswith(f"{AGAINST}{identity}")]


def feature_key(slice_key: str, extractor: str) -> str:
    """The name of a slice's features in the cache."""
    return digest([slice_key, extractor])


def _training_seconds(planned: Planned, per_image: float) -> float:
    if planned.trained:
        return 0.0
    from hypersd import recipe

    return recipe.load(planned.row.settings.weights).images_seen * per_image


def _count(pieces: list[tuple[Key, ...]]) -> int:
    return sum(map(len, pieces))
