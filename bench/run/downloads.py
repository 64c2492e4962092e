"""Downloads of a run before it starts: checkpoints, the networks of its metrics, photographs.

The publisher of a file is asked for its size, licence and access only if the file is not on this
machine, and no more once the hub does not answer. A recipe's training gets its files from here too,
at the commits that the lock pins, so that base and contestants use the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from rich.console import Console

from bench.contestants import files
from bench.errors import UsageError
from bench.metrics import network_of, weights
from bench.metrics.references import NoReference
from bench.metrics.weights import NotHere
from bench.results import hub
from bench.results.hub import HUB
from bench.run import photographs
from bench.run.hardware import GB
from bench.run.metric_identities import Evaluator, metric_of
from bench.run.photographs import Photographs
from bench.run.progress import Reporter
from bench.suite.contestant import ContestantSettings
from bench.suite.suite import Suite
from hypersd.hub import INDEX, PARTS, parts_of, pipeline_files, wanted_variant
from hypersd.hub_client import Unreachable
from hypersd.reference import SCHEME, Reference, reference

T = TypeVar("T")
WEIGHTS = "model.safetensors"  # of a model's folder; the few small files beside it do not count


@dataclass(frozen=True)
class Download:
    """Files of one reference. size: bytes that are not on this machine yet, None where not known.

    is_here: all of it is on this machine.  licence: as the card says, or "unknown".
    """

    reference: Reference
    precision: str
    licence: str
    size: int | None
    is_here: bool


@dataclass(frozen=True)
class Downloads:
    """models: for contestants and trainings. evaluators: for metrics, if not on this machine.
    pictures: for references that a run makes. missing: why some cannot be fetched, a clause
    each."""

    models: tuple[Download, ...] = ()
    evaluators: tuple[Evaluator, ...] = ()
    missing: tuple[str, ...] = ()
    pictures: tuple[Photographs, ...] = ()

    @property
    def to_fetch(self) -> list[Download]:
        """The models that are not on this machine."""
        return [one for one in self.models if not one.is_here]

    @property
    def bytes(self) -> int:
        """To download of models and evaluators, as far as sizes are known."""
        return known_bytes([*self.to_fetch, *self.evaluators])

    @property
    def picture_bytes(self) -> int:
        """To download of pictures, about."""
        return sum(one.size for one in self.pictures)


class Fetched(NamedTuple):
    """Bytes to download: as planned, and as counted."""

    planned: int
    counted: int


def known_bytes(some: Sequence[Download | Evaluator]) -> int:
    """The sum of the sizes that are known."""
    return sum(one.size or 0 for one in some)


def listed(
    contestants: Sequence[ContestantSettings],
    untrained: Sequence[ContestantSettings],
    evaluators: tuple[Evaluator, ...],
    pictures: tuple[Photographs, ...] = (),
) -> Downloads:
    """Every reference of contestants, and of the trainings of untrained ones, each once; with the
    publisher's size and licence of missing ones."""
    asked = _Asked()
    models = tuple(asked.model(*each) for each in references(contestants, untrained))
    found = tuple(map(asked.evaluator, evaluators))
    for one in pictures:
        asked.pictures(one)
    if asked.unreachable:
        gone = [one for one in models if not one.is_here]
        asked.missing.append(_unreachable([*gone, *found], asked.unreachable))
    return Downloads(models, found, tuple(dict.fromkeys(asked.missing)), pictures)


@dataclass
class _Asked:
    """The requests so far: what cannot be fetched, and why the hub is not asked any more."""

    missing: list[str] = field(default_factory=list)
    unreachable: str = ""

    def model(self, ref: Reference, precision: str) -> Download:
        licence, size = hub.licence(ref), hub.size(ref, precision)
        if _is_here(ref, precision):
            return Download(ref, precision, licence or "unknown", size, is_here=True)
        there = self._ask(lambda: HUB.ask_for(ref.file(ref.path or INDEX)))
        if there is not None:
            size = _size(ref, precision, there.sizes)
            licence = licence or there.licence
        return Download(ref, precision, licence or "unknown", size, is_here=False)

    def evaluator(self, one: Evaluator) -> Evaluator:
        on_hub = one.source.startswith(SCHEME)
        said = self._ask(lambda: weights.said_of(one.sources or (one.source,)), on_hub=on_hub)
        if said is None:
            return one
        size, licence = said
        known = one.licence if one.licence != "unknown" else None
        return replace(one, size=size or one.size, licence=known or licence or "unknown")

    def pictures(self, some: Photographs) -> None:
        self._ask(lambda: photographs.ask_for(some), on_hub=False)

    def _ask(self, question: Callable[[], T], *, on_hub: bool = True) -> T | None:
        """The answer; None, with a note, if there is none."""
        if on_hub and self.unreachable:
            return None
        try:
            return question()
        except UsageError as error:
            if on_hub and isinstance(error, Unreachable):
                self.unreachable = str(error).split(": ", 1)[-1]
            else:
                self.missing.append(str(error))
        return None


def training_references(settings: ContestantSettings) -> list[tuple[Reference, str]]:
    """The base of a contestant's recipe, and the networks that its options name: each with the
    precision that decides on its files. Raises UsageError for a recipe that cannot be read."""
    from hypersd import recipe

    plan = recipe.load(settings.weights)
    base = files.remote(plan.base) if "/" in plan.base else None
    found: list[tuple[Reference, str]] = []
    if base is not None:
        found.append((base, plan.base_precision))
    for name in dict.fromkeys(_named(plan.options)):
        one = reference(name)
        if one is not None:
            found.append((one.file(one.path or WEIGHTS), "fp32"))
    return found


def _named(options: Any) -> Iterator[str]:
    """Every reference to the hub in a recipe's options."""
    if isinstance(options, str) and options.startswith(SCHEME):
        yield options
    elif isinstance(options, dict | list):
        for value in options.values() if isinstance(options, dict) else options:
            yield from _named(value)


def references(
    contestants: Sequence[ContestantSettings], untrained: Sequence[ContestantSettings]
) -> list[tuple[Reference, str]]:
    """The hub references of contestants and trainings, with their precision.

    Each set of files once: precision chooses the files of a pipeline, and of nothing else.
    """
    wanted = [(ref, one.precision) for one in contestants for ref in files.references(one)]
    wanted += [each for one in untrained for each in training_references(one)]
    kinds = {(ref, "" if ref.path else str(wanted_variant(p))): (ref, p) for ref, p in wanted}
    return list(kinds.values())


def _is_here(ref: Reference, precision: str) -> bool:
    if ref.path:
        return HUB.cached(ref) is not None
    return HUB.cached_pipeline(ref, wanted_variant(precision)) is not None


def _size(ref: Reference, precision: str, sizes: dict[str, int]) -> int:
    """Bytes of a reference that are not here, as the hub states them."""
    if ref.path:
        return sizes[ref.path]
    index = HUB.cached(ref.file(INDEX))
    parts = PARTS if index is None else parts_of(index.parent)
    names = pipeline_files(sizes, wanted_variant(precision), parts)
    return sum(sizes[name] for name in names if HUB.cached(ref.file(name)) is None)


def _unreachable(gone: Sequence[Download | Evaluator], why: str) -> str:
    return (
        f"{len(gone)} downloads of about {known_bytes(gone) / GB:.1f} GB: {why}. "
        "Fetch them where there is a network (the same command, or `hf download`) and bring "
        "$HF_HOME here, or name local files: base=DIR contestants.NAME.lora=FILE"
    )


def fetch(downloads: Downloads, suite: Suite, out: Console) -> Fetched:
    """Fetch missing files, one by one. Raises UsageError where one cannot be fetched."""
    before = sum(HUB.downloaded)
    for one in downloads.to_fetch:
        ref = one.reference
        out.print(f"fetching {ref}", highlight=False, soft_wrap=True)
        if ref.path:
            HUB.file(ref)
        else:
            HUB.pipeline(ref, wanted_variant(one.precision))
    for name in suite.metrics:
        _fetch_evaluator(suite, name, out)
    for some in downloads.pictures:
        with Reporter(out).bar(f"pictures of {some.name}", len(some.wanted)) as advance:
            photographs.fetch(some, advance)
    return Fetched(downloads.bytes, sum(HUB.downloaded) - before)


def _fetch_evaluator(suite: Suite, name: str, out: Console) -> None:
    """Fetch a metric's files one after the other, as each becomes known."""
    before = None
    while True:
        try:
            _check_here(suite, name)
            return
        except NotHere as error:
            if str(error) == before:
                raise
            before = str(error)
            out.print(f"fetching {before}", highlight=False, soft_wrap=True)
            error.fetch()


def _check_here(suite: Suite, name: str) -> None:
    """Raise NotHere where a file of a metric's network is missing, UsageError for any other
    fault."""
    try:
        metric_of(suite, name)
    except NoReference:  # made when its network is here
        _ = network_of(name, suite.metric_settings.get(name), published=True).identity
