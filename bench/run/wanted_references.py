"""The references that a run makes before it scores: their pictures and their cost.

`coco2014_5k`: the photographs that the prompt set's captions were written for, all of them, for any
number of prompts, so that one name is one reference. `teacher_BASE`: the teacher's own pictures of
the run's prompts with a seed that no contestant has, where `references=teacher` asks for them;
otherwise metrics that need them are left out.

A user's own reference (`bench.run.real_references`, or a path) goes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from bench.contestants import identity, schedulers
from bench.errors import UsageError, listed
from bench.metrics import network_of, references
from bench.metrics.networks.base import Network
from bench.results import places
from bench.run import photographs
from bench.run.photographs import Photographs
from bench.statistics.metrics import METRICS
from bench.suite import prompt_pictures, prompt_sets
from bench.suite.contestant import Row
from bench.suite.prompts import PromptSet
from bench.suite.suite import Suite, teacher_reference
from hypersd.hashes import Hashes, digest
from hypersd.picture_files import VERSION

SEED = 1_000_003  # of a teacher's pictures, or the next one that the suite does not draw with


@dataclass(frozen=True)
class Drawn:
    """The teacher's pictures for a reference. identity: of the row, "" until its base is here.
    made_of: a hash of what they are a function of."""

    row: Row
    identity: str
    seed: int
    evaluations: int
    made_of: str


@dataclass(frozen=True)
class ToMake:
    """A reference that is to be made before anything is scored.

    name: of its pictures.  images: how many.  drawn: None for photographs.  metrics: that use it.
    path: of the file, None until its network and the drawn contestant's files are on this machine.
    """

    name: str
    network: Network
    images: int
    drawn: Drawn | None = None
    metrics: tuple[str, ...] = ()
    path: Path | None = None


@dataclass(frozen=True)
class Wanted:
    """suite: its metrics name the references that were made, and those that cannot have one are
    left out.  to_make: what is not made yet.  pictures: what is fetched for it.  missing: a clause
    each.  notes: what is left out, and what it would cost."""

    suite: Suite
    to_make: tuple[ToMake, ...] = ()
    pictures: tuple[Photographs, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def unmade(self) -> dict[str, Network]:
        """The networks of metrics that wait for a reference."""
        return {name: one.network for one in self.to_make for name in one.metrics}


def wanted(suite: Suite, prompts: PromptSet, *, teacher: bool, hashes: Hashes) -> Wanted:
    """The references that a suite on published checkpoints needs. teacher: whether the teacher's
    are drawn."""
    if not suite.published:
        return Wanted(suite)
    search = _Search(suite, prompts, teacher, hashes)
    for name in suite.metrics:
        search.metric(name)
    return search.found()


@dataclass
class _Search:
    """The search, metric by metric. made: paths by metric. absent: metrics without a reference in
    this run, and why ("" if the reason is in `missing`)."""

    suite: Suite
    prompts: PromptSet
    teacher: bool
    hashes: Hashes
    made: dict[str, Path] = field(default_factory=dict)
    to_make: dict[tuple[str, Network], ToMake] = field(default_factory=dict)
    pictures: dict[str, Photographs] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def metric(self, name: str) -> None:
        """Find the reference of a metric, where it has one that is not the user's own."""
        maker = METRICS[name].published
        if maker is None or "reference" not in maker.keys:
            return
        settings = self.suite.metric_settings.get(name, {})
        reference = settings.get("reference", references.REAL)
        try:
            network = network_of(name, settings, published=True)
        except UsageError:
            return  # said where the metric is made
        if references.is_path(reference) or references.path_of(network, reference).is_file():
            return
        if reference in {teacher_reference(one.base) for one in self.suite.contestants}:
            self._drawn(name, reference, network)
        elif reference in prompt_pictures.NAMES:
            if "reference" in settings or self.suite.prompt_set == reference:
                self._photographed(name, reference, network)
            else:
                self.missing[self._of_other_prompts(name, reference)] = None
                self.absent[name] = ""

    def found(self) -> Wanted:
        """The result. If no metric is left, those left out are missing."""
        kept = tuple(name for name in self.suite.metrics if name not in self.absent)
        said = tuple(note for note in self.absent.values() if note)
        settings: dict[str, dict[str, str]] = {
            **self.suite.metric_settings,
            **{
                name: {**self.suite.metric_settings.get(name, {}), "reference": str(path)}
                for name, path in self.made.items()
            },
        }
        return Wanted(
            suite=replace(self.suite, metrics=kept, metric_settings=settings),
            to_make=tuple(self.to_make.values()),
            pictures=tuple(self.pictures.values()),
            missing=(*self.missing, *(() if kept else said)),
            notes=said if kept else (),
        )

    def _of_other_prompts(self, name: str, reference: str) -> str:
        return (
            f"metric {name!r}: {self.suite.prompt_set} has no photographs of its own; "
            f"metrics.{name}.reference={reference} measures against those of {reference} "
            "instead, and python -m bench.run.real_references NAME FOLDER makes another reference"
        )

    def _photographed(self, name: str, reference: str, network: Network) -> None:
        images = prompt_sets.SOURCES[reference].n or 0
        try:
            found = photographs.of(reference)
        except UsageError as error:
            self.missing[str(error)] = None
            self._make(name, ToMake(reference, network, images), None)
            return
        small = [one.name for one in found.wanted if min(one.width, one.height) < network.least]
        if small:
            self.missing[
                f"metric {name!r}: {len(small)} of the {len(found.wanted):,} pictures of "
                f"{reference} are smaller than {network.least} px ({listed(small, 1)}); valid: "
                f"metrics.{name}.reference=NAME of larger ones"
            ] = None
            self.absent[name] = ""
            return
        one = ToMake(reference, network, len(found.wanted))
        if not self._make(name, one, [[each.name for each in found.wanted], VERSION]):
            self.pictures[reference] = found

    def _drawn(self, name: str, reference: str, network: Network) -> None:
        rows = [row for row in self.suite.rows if row.settings.method == "teacher"]
        if len(rows) != 1:
            self._leave_out(name, f"there is no reference {reference}, and {len(rows)} rows of "
                                  "method teacher where one is needed to draw it")  # fmt: skip
            return
        drawn = self._pictures_of(rows[0])
        if not self.teacher:
            self._leave_out(name, f"it takes {len(self.prompts.texts):,} more pictures of "
                                  f"{rows[0].name} with another seed, {drawn.evaluations:,} "
                                  "evaluations; references=teacher draws them once")  # fmt: skip
            return
        one = ToMake(reference, network, len(self.prompts.texts), drawn)
        self._make(name, one, [drawn.made_of] if drawn.identity else None)

    def _leave_out(self, name: str, why: str) -> None:
        if self.teacher:
            self.missing[f"references=teacher: {why}"] = None
        self.absent[name] = "" if self.teacher else f"{name} is left out: {why}"

    def _pictures_of(self, row: Row) -> Drawn:
        taken = {*self.suite.seeds, *(self.suite.repeats.seeds if self.suite.repeats else ())}
        seed = next(seed for seed in count(SEED) if seed not in taken)
        nfe = schedulers.evaluations(row)
        evaluations = len(self.prompts.texts) * (nfe.count if nfe else 0)
        try:
            name = identity.contestant(row, self.prompts, self.hashes)
        except UsageError:
            name = ""  # said where the row is planned
        known = [name, list(self.prompts.texts), seed, row.size(self.suite.size)]
        return Drawn(row, name, seed, evaluations, digest(known)[:12])

    def _make(self, name: str, one: ToMake, known: Sequence[object] | None) -> bool:
        """Note a reference as made or to make. known: the hash of its pictures, if it is known."""
        path = None if known is None else _path(one, known)
        if path is not None and is_sound(path):
            self.made[name] = path
            return True
        before = self.to_make.get((one.name, one.network))
        metrics = (*(before.metrics if before else ()), name)
        self.to_make[one.name, one.network] = replace(one, metrics=metrics, path=path)
        return False


def _path(one: ToMake, known: Sequence[object]) -> Path | None:
    """The path of a reference of known pictures; None until its network is fetched."""
    try:
        key = digest([*known, one.network.identity])[:12]
    except UsageError:
        return None  # said where its metrics are made
    return places.references() / one.name / f"{one.network.label}-{key}.safetensors"


def is_sound(path: Path) -> bool:
    """Whether a reference is there; a damaged one is made again."""
    try:
        return path.is_file() and references.read(path) is not None
    except UsageError:
        return False


def evaluations(some: Sequence[ToMake]) -> int:
    """Network evaluations that drawing references takes."""
    return sum(one.drawn.evaluations for one in some if one.drawn is not None)
