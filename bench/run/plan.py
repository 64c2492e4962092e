"""The plan of a run: what it will make, and what is missing. It makes nothing and needs no
torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from bench.contestants import own_pipelines
from bench.errors import UsageError
from bench.results import keys, places
from bench.results.keys import Key
from bench.run import (
    costs,
    downloads,
    fitting,
    hardware,
    metric_identities,
    picture_bytes,
    settings_lint,
    wanted_references,
)
from bench.run.cache import Cache
from bench.run.downloads import Downloads, Fetched
from bench.run.hardware import Disk, Fit, Machine
from bench.run.metric_identities import AGAINST, Evaluator
from bench.run.options import RunOptions
from bench.run.photographs import Photographs
from bench.run.rows_left import Planned, RowPlanner
from bench.run.wanted_references import ToMake
from bench.statistics.metrics import spec
from bench.suite import prompts
from bench.suite.contestant import ANCHORS
from bench.suite.prompts import PromptSet
from bench.suite.suite import Suite
from hypersd import exports, recipe
from hypersd.hashes import Hashes, digest
from hypersd.hub_client import cache_folder


@dataclass(frozen=True)
class Plan:
    """A run before it happens.

    keys: the scored keys.  repeats: those that `diversity` is of, where it is not of all of them.
    extractors, metrics: identities by name, as far as they could be read.
    missing: what a run lacks, a clause each; faults: of these, what is wrong with contestants.
    notes: what was left out of the suite, and why.
    costs: seconds by stage, as expected.  fit: how a suite on published checkpoints fits the
    machine.  fetched: what was downloaded for this run before it was planned anew.  references: to
    be made before it is known.  asked: the suite before anything was left out of it.
    """

    suite: Suite
    options: RunOptions
    prompts: PromptSet
    keys: list[Key]
    rows: list[Planned]
    extractors: Mapping[str, str]
    metrics: Mapping[str, str]
    missing: list[str]
    notes: list[str]
    costs: Mapping[str, float]
    downloads: Downloads = field(default_factory=Downloads)
    fit: Fit = field(default_factory=Fit)
    fetched: Fetched | None = None
    repeats: tuple[Key, ...] = ()
    references: tuple[ToMake, ...] = ()
    asked: Suite | None = None
    faults: Sequence[str] = ()

    @property
    def is_known(self) -> bool:
        """Whether the plan knows its images and scores: nothing must be fetched, and no reference
        made, first."""
        return not (self.downloads.to_fetch or self.downloads.evaluators or self.references)

    def again(self) -> Plan:
        """The same plan, made again with the files that are here now."""
        return replace(make(self.asked or self.suite, self.options), fetched=self.fetched)

    @property
    def device_kind(self) -> str:
        """ "cuda", "mps" or "cpu"; of a suite of the world, "cpu"."""
        return _kind(self.fit)

    @property
    def cost_key(self) -> str:
        """The cost key of its measured seconds."""
        return costs.cost_key(self.suite, self.device_kind)

    @cached_property
    def unlike_cards(self) -> list[str]:
        """The contestants that are drawn otherwise than their weights' cards say."""
        return settings_lint.unlike_cards(self.suite)

    @property
    def settings_sources(self) -> list[str]:
        """Where the suite's settings were read, and which of them were not."""
        return settings_lint.sources(self.suite)

    @cached_property
    def own_calls(self) -> list[str]:
        """What contestants' own pipelines do not let a suite set, and decide themselves."""
        lines = (f"contestants.{one.key}: {note}" for one in self.suite.contestants
                 for note in own_pipelines.notes(one))  # fmt: skip
        return list(dict.fromkeys(lines))

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
    def sound(self) -> list[Planned]:
        """The rows that are not left out, those that cost least first and the teacher last, so that
        few-step contestants can be compared long before it is drawn; first if a metric compares
        their pictures with it."""

        def cost(planned: Planned) -> tuple[int, int]:
            evaluations = planned.evaluations
            is_last = evaluations > 0 and planned.row.settings.method == "teacher"
            return -1 if self.is_held_against(planned) else is_last, evaluations

        return sorted((planned for planned in self.rows if not planned.fault), key=cost)

    def is_held_against(self, planned: Planned) -> bool:
        """Whether it is the teacher, and a metric compares the pictures of others with its own, or
        their spread."""
        is_asked = any(spec(name).of_teacher for name in self.suite.metrics)
        is_teacher = planned.row.settings.method == "teacher"
        return is_teacher and (is_asked or any(AGAINST in name for name in self.extractors))

    @property
    def out(self) -> Path:
        """The run folder."""
        if self.options.out is not None:
            return self.options.out
        return Path("runs") / f"{self.suite.name}-{digest([self.protocol, self.contestants])[:8]}"

    @property
    def seconds(self) -> float:
        """An estimate of the whole run."""
        return sum(self.seconds_of(planned) for planned in self.rows) + self._reference_seconds

    def seconds_of(self, planned: Planned) -> float:
        """An estimate of one row."""
        per_image = planned.evaluations / max(1, planned.images) * self.costs["unet"]
        model = planned.row.settings.source not in (*ANCHORS, "images")
        per_image += self.costs["vae"] if model else self.costs["render"]
        per_image *= (planned.row.size(self.suite.size) / self.suite.size) ** 2
        drawn = planned.images * per_image + planned.to_score * self.costs["score"]
        return drawn + _training_seconds(planned, self.costs["train"])

    @property
    def _reference_seconds(self) -> float:
        drawn = sum(one.images for one in self.references if one.drawn is not None)
        total = wanted_references.evaluations(self.references) * self.costs["unet"]
        total += drawn * self.costs["vae"]
        return total + sum(one.images for one in self.references) * self.costs["score"]


def make(suite: Suite, options: RunOptions, machine: Machine = hardware.HERE) -> Plan:
    """The plan of a suite. Raises UsageError for prompts that cannot be read, and where neither
    pictures nor scores would be left."""
    asked = suite
    chosen, missing = _prompts(suite)
    missing += _taken(options.out, suite.name)
    own_pipelines.look(suite.contestants)
    suite, notes = fitting.fitting(suite, chosen)
    notes += [f"{key} is left out: no settings for these numbers of steps" for key in suite.absent]
    hashes = Hashes(options.cache / "hashes.json")
    device = machine.device(options.device) if suite.published else None
    suite = metric_identities.on_device(suite, device.kind if device else "cpu")
    suite = metric_identities.with_teacher(suite, chosen, hashes)
    found = wanted_references.wanted(
        suite, chosen, teacher=options.references == "teacher", hashes=hashes
    )
    suite, notes = found.suite, [*notes, *found.notes]
    _check_kept(suite, options)
    metrics = metric_identities.identities(suite, found.unmade)
    missing += [c for c in (*found.missing, *metrics.missing) if c not in missing]
    limit = options.limit if (options.limit or 0) < len(chosen.texts) else None
    options = replace(options, limit=limit)
    planner = _planner(suite, options, chosen, metrics.extractors, hashes)
    rows, faults = [], dict[str, None]()
    for row in suite.rows:
        planned, lacks = planner.row(row)
        if lacks and suite.keep_going:
            planned = planned.without(", ".join(lacks))
        elif lacks:
            faults |= dict.fromkeys(lacks)
        rows.append(planned)
        notes += [f"{row.name}: {note}" for note in planned.notes]
    missing += [*faults, *_none_left(rows)]
    hashes.remember()
    wanted, fit = _fetched(suite, rows, metrics.to_fetch, found.pictures), Fit()
    if suite.published:
        fit = _fit(suite, options, machine, rows, wanted)
    return Plan(
        suite=suite,
        options=options,
        prompts=chosen,
        keys=planner.keys,
        rows=rows,
        extractors=metrics.extractors,
        metrics=metrics.metrics,
        missing=[*missing, *wanted.missing, *fit.missing],
        notes=[*notes, *fit.notes],
        costs=costs.expected(suite, _kind(fit), options.cache),
        downloads=wanted,
        fit=fit,
        repeats=tuple(_below(limit, _repeats(suite, chosen.texts))),
        references=found.to_make,
        asked=asked,
        faults=list(faults),
    )


def _check_kept(suite: Suite, options: RunOptions) -> None:
    if options.pictures != "all" and not suite.metrics:
        raise UsageError(
            f"pictures={options.pictures}: this run has no metrics, so nothing would be left of "
            "its pictures; valid: pictures=all"
        )


def _none_left(rows: Sequence[Planned]) -> list[str]:
    """Why each row is left out, where all of them are."""
    faults = [planned.fault for planned in rows]
    return list(dict.fromkeys(faults)) if all(faults) else []


def _taken(out: Path | None, name: str) -> list[str]:
    """A clause where the folder that is asked for holds a training, or another suite's run."""
    if out is not None and exports.is_training(out):
        return [f"out={out}: holds a training; choose another folder"]
    try:
        held = json.loads((out / "run.json").read_bytes())["suite"] if out is not None else name
    except (OSError, ValueError, KeyError, TypeError):
        return []  # none yet, or damaged: said when it is claimed
    if held == name:
        return []
    return [f"out={out}: holds a run of suite {held!r}; choose another folder"]


def _planner(
    suite: Suite, options: RunOptions, chosen: PromptSet, extractors: Mapping[str, str],
    hashes: Hashes,
) -> RowPlanner:  # fmt: skip
    """Slices are those of all keys, so that runs of every limit find them in the cache."""
    everything, limit = keys.ordered(chosen.texts, suite.seeds), options.limit
    known = set(everything)
    beside = [key for key in _repeats(suite, chosen.texts) if key not in known]
    return RowPlanner(
        suite=suite,
        options=options,
        prompts=chosen,
        keys=_below(limit, everything),
        pieces=keys.needed(keys.slices(everything), limit),
        repeats=keys.needed(keys.slices(beside), limit),
        extractors=extractors,
        cache=Cache(options.cache),
        hashes=hashes,
    )


def _below(limit: int | None, some: Sequence[Key]) -> list[Key]:
    return [key for key in some if limit is None or key.index < limit]


def _repeats(suite: Suite, texts: Sequence[str]) -> list[Key]:
    """The keys of `diversity`, if the suite has `repeats`."""
    found = suite.repeats
    return [] if found is None else keys.ordered(texts[: found.n], found.seeds)


def _prompts(suite: Suite) -> tuple[PromptSet, list[str]]:
    """The prompts; stand-ins if a suite on published checkpoints lacks prompts and more, so that
    everything missing is listed at once."""
    try:
        found = prompts.load(suite.prompt_set, suite.n, places.prompts())
        return prompts.after(suite.prefix, found), []
    except UsageError as error:
        if not suite.published or suite.n is None:
            raise
        return PromptSet(suite.prompt_set, tuple(f"prompt {i}" for i in range(suite.n))), [
            str(error)
        ]


def _fetched(
    suite: Suite, rows: Sequence[Planned], evaluators: Sequence[Evaluator],
    pictures: tuple[Photographs, ...],
) -> Downloads:  # fmt: skip
    """The downloads of a run; none for contestants of the world."""
    contestants = suite.contestants if suite.published else ()
    untrained = [planned.row.settings for planned in rows if not planned.trained]
    untrained = untrained if suite.published else []
    return downloads.listed(contestants, untrained, tuple(evaluators), pictures)


def _fit(
    suite: Suite, options: RunOptions, machine: Machine, rows: Sequence[Planned], wanted: Downloads
) -> Fit:
    kept = picture_bytes.together(suite, rows, options.pictures)
    saving = picture_bytes.saving(suite, rows, options.pictures)
    disks = [
        Disk(places.pictures(), wanted.picture_bytes, places.VARIABLE),
        Disk(cache_folder(), wanted.bytes, "HF_HOME"),
        Disk(options.cache, kept, "cache=DIR", saving),
    ]
    batch = 1 if options.best_batch else options.batch
    evaluators = metric_identities.network_bytes(suite)
    return hardware.fit(
        machine, suite.contestants, options.device, suite.size, batch, disks, evaluators,
        options.offload,
    )  # fmt: skip


def _kind(fit: Fit) -> str:
    return fit.device.kind if fit.device else "cpu"


def _training_seconds(planned: Planned, per_image: float) -> float:
    if planned.trained:
        return 0.0
    return recipe.load(planned.row.settings.weights).images_seen * per_image
