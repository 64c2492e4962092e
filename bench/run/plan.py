"""What a run will do, and what is missing to do it. Nothing is made here, torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from bench import hub
from bench.contestants import files
from bench.contestants.hashes import Hashes
from bench.errors import UsageError
from bench.results import keys, places
from bench.results.keys import Key, digest
from bench.run import costs, evaluators, judges, needs
from bench.run.cache import Store
from bench.run.needs import Needs
from bench.run.options import RunOptions
from bench.run.rows_left import Planned, Work
from bench.suite import prompts
from bench.suite.contestant import ANCHORS
from bench.suite.prompts import PromptSet
from bench.suite.suite import Suite

PNG = 0.35  # of a picture's bytes, in the run folder beside the cache; measured at 1024 px


@dataclass(frozen=True)
class Plan:
    """A run before it happens.

    keys: the scored keys.  repeats: those that `diversity` is of, where it is not of all of them.
    extractors, metrics: identities by name, as far as they could be read.
    missing: what a run lacks, a clause each.  notes: what was left out of the suite, and why.
    needs: downloads, memory and more of a suite on published checkpoints.  evaluators: what the
    metrics will fetch.
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
    needs: Needs = field(default_factory=Needs)
    evaluators: tuple[str, ...] = ()
    repeats: tuple[Key, ...] = ()

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


def make(suite: Suite, options: RunOptions) -> Plan:
    """The plan of a suite. Raises UsageError for prompts that cannot be read."""
    chosen, missing = _prompts(suite)
    suite, notes = _fitting(suite, chosen)
    notes += [f"{key} has nothing at these numbers of steps" for key in suite.absent]
    hashes = Hashes(options.cache / "hashes.json")
    suite = judges.with_teacher(suite, chosen, hashes)
    judging = judges.of(suite)
    missing += judging.missing
    everything = keys.ordered(chosen.texts, suite.seeds)
    limit = options.limit if (options.limit or 0) < len(chosen.texts) else None
    options = replace(options, limit=limit)
    scored = [key for key in everything if limit is None or key.index < limit]
    pieces = keys.needed(keys.slices(everything), limit)
    repeats = _repeats(suite, chosen.texts)
    beside = set(repeats) - set(everything)
    more = keys.needed(keys.slices([key for key in repeats if key in beside]), limit)
    store, rows = Store(options.cache), []
    work = Work(suite, options, chosen, scored, judging.extractors, store, hashes, more)
    for row in suite.rows:
        planned, lacks = work.row(row, pieces)
        missing += [clause for clause in lacks if clause not in missing]
        rows.append(planned)
    hashes.remember()
    found = _needs(suite, options, rows)
    place = _place(suite, found)
    seconds = {**_guessed(suite, found), **costs.measured(options.cache, place)}
    missing += found.missing
    return Plan(suite, options, chosen, scored, rows, judging.extractors, judging.metrics, missing,
                [*notes, *found.notes], seconds, found, judging.to_fetch,
                tuple(key for key in repeats if limit is None or key.index < limit))  # fmt: skip


def _repeats(suite: Suite, texts: Sequence[str]) -> list[Key]:
    """What `diversity` is of, where the suite has `repeats`."""
    found = suite.repeats
    return [] if found is None else keys.ordered(texts[: found.n], found.seeds)


def _prompts(suite: Suite) -> tuple[PromptSet, list[str]]:
    """The prompts; stand-ins where a suite on published checkpoints lacks them as well as much
    else, so that all of it is said at once."""
    try:
        return prompts.load(suite.prompt_set, suite.n, places.prompts()), []
    except UsageError as error:
        if not suite.published or suite.n is None:
            raise
        return PromptSet(suite.prompt_set, tuple(f"prompt {i}" for i in range(suite.n))), [
            str(error)
        ]


def _needs(suite: Suite, options: RunOptions, rows: list[Planned]) -> Needs:
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
        1 if options.best_batch else options.batch,
        [planned.row.settings for planned in rows if not planned.trained],
        sum(one.size or 0 for one in evaluators.to_fetch(suite)),
    )


def _family(suite: Suite) -> str | None:
    """The shape of the networks that most of the time goes into; None for the world's."""
    if not suite.published:
        return None
    there = files.remote(suite.contestants[0].base)
    return (hub.family(there.repo) if there else None) or "other"


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
    if not kept or (suite.metrics and not metrics):
        raise UsageError(f"prompts.set={chosen.name}: leaves no contestant or no metric to run")
    return replace(suite, contestants=kept, metrics=metrics), notes


def _training_seconds(planned: Planned, per_image: float) -> float:
    if planned.trained:
        return 0.0
    from hypersd import recipe

    return recipe.load(planned.row.settings.weights).images_seen * per_image


def _count(pieces: list[tuple[Key, ...]]) -> int:
    return sum(map(len, pieces))
