"""The work that is left for each row: slices of images, features, a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

from bench.contestants import identity, own_pipelines, picture_folders, schedulers
from bench.contestants.card import Card, trained_weights
from bench.contestants.schedulers import Evaluations
from bench.errors import UsageError
from bench.results import keys
from bench.results.entries import Arrays
from bench.results.keys import Key
from bench.run import shipped
from bench.run.cache import Cache
from bench.run.metric_identities import extractors_of, feature_key
from bench.run.options import RunOptions, is_shown
from bench.statistics.metrics import spec
from bench.suite.contestant import ANCHORS, OF_BASE, Row, Scheduler
from bench.suite.prompts import PromptSet
from bench.suite.sampling import LIKE
from bench.suite.suite import Suite
from hypersd import exports, recipe, sources
from hypersd.exports import FACTS
from hypersd.hashes import Hashes, digest
from hypersd.hub_client import NotFetched
from hypersd.methods.drawn_with import FIELD
from hypersd.picture_files import VERSION

SHOWN = 24  # prompts whose pictures a report can show, and the live pictures of a shipped row


@dataclass(frozen=True)
class Slice:
    """Some images of one row: the unit of work, of the cache, and of sharing between processes.

    contestant: identity.  size: of an image, in pixels.  is_cached: its images go into the cache;
    those of a folder do not.  is_shown: its images are kept for people to see.  is_needed: they are
    kept for the run itself.  make: images are missing.  score: features are missing.
    """

    contestant: str
    keys: tuple[Key, ...]
    size: int
    is_cached: bool = True
    is_shown: bool = True
    is_needed: bool = False
    make: bool = False
    score: bool = False

    @property
    def key(self) -> str:
        """The cache key of its images; for a folder of pictures also by the version of the
        reader."""
        key = keys.slice_key(self.contestant, self.keys, self.size)
        return key if self.is_cached else digest([key, VERSION])

    @property
    def is_kept(self) -> bool:
        """Whether its images are kept after scoring."""
        return self.is_shown or self.is_needed

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class Planned:
    """One row of the result, and its slices with the work that is left.

    shipped: features that came with the project, one row for each scored key.
    training: the folder of a recipe's training; trained: its weights are there, as far as is known
    before its base is fetched.  notes: on files in its folder of pictures that are not used.
    fault: why it cannot be drawn, of a row that is left out.
    """

    row: Row
    identity: str
    slices: list[Slice]
    shipped: Arrays | None = None
    training: Path | None = None
    trained: bool = True
    notes: Sequence[str] = ()
    fault: str = ""

    @property
    def name(self) -> str:
        """The row's name in the result."""
        return self.row.name

    @property
    def images(self) -> int:
        """Images to make."""
        return sum(len(part) for part in self.slices if part.make)

    @property
    def to_score(self) -> int:
        """Images whose features are missing."""
        return sum(len(part) for part in self.slices if part.score)

    @property
    def evaluations(self) -> int:
        """Network evaluations to make, over all images, as far as they are known beforehand."""
        return self.images * (self.nfe.count if self.nfe else 0)

    @cached_property
    def nfe(self) -> Evaluations | None:
        """Network evaluations per image, as predicted; None for images that no sampler makes."""
        return schedulers.evaluations(self.row)

    @property
    def weights(self) -> Path | None:
        """The weights that its recipe trained; None for other rows."""
        return None if self.training is None else trained_weights(self.training / "final")

    def without(self, fault: str) -> Planned:
        """The row, left out: nothing of it is drawn."""
        return replace(self, slices=[], trained=True, fault=fault)

    @property
    def card(self) -> Card:
        """The model card of its weights."""
        return Card(self.row.settings, self.weights)


@dataclass(frozen=True)
class RowPlanner:
    """Plans rows. prompts: all of the set.  keys: the scored ones.  pieces: the
    keys of all slices; repeats: those of a suite's `repeats` beside them.  extractors: identities
    by name."""

    suite: Suite
    options: RunOptions
    prompts: PromptSet
    keys: list[Key]
    pieces: list[tuple[Key, ...]]
    repeats: list[tuple[Key, ...]]
    extractors: Mapping[str, str]
    cache: Cache
    hashes: Hashes

    def row(self, row: Row) -> tuple[Planned, list[str]]:
        """A row, and what is missing to make it; if anything is missing, all its work is left."""
        planned = Planned(row, "", self._slices(row, ""))
        try:
            name = identity.contestant(row, self.prompts, self.hashes)
            planned = Planned(row, name, self._slices(row, name))
            for clause in self._undrawn(row):  # after the weights: a path that leads nowhere first
                raise UsageError(clause)
            notes = self._check_images(row)
            return replace(self._left(planned), notes=notes), []
        except NotFetched:
            whole = [replace(part, make=True, score=True) for part in planned.slices]
            known = row.settings.source != "recipe"
            lacks = [*self._undrawn(row), *_lacking_pictures(row)]
            return replace(planned, slices=whole, trained=known), lacks
        except UsageError as error:
            return replace(planned, identity=""), [str(error)]

    def _undrawn(self, row: Row) -> list[str]:
        """A clause where nothing says how a row's weights are drawn: another scheduler than theirs
        draws worse pictures without an error."""
        settings, suite = row.settings, self.suite
        if not settings.assumed or settings.source == "random":
            return []
        if own_pipelines.is_own(settings) or not own_pipelines.is_known(settings):
            return []  # by the pipeline's scheduler
        others = [one.key for one in suite.contestants if one.steps and one.key != settings.key]
        where = f"contestants.{settings.key}"
        likes = ", ".join(dict.fromkeys(others) if suite.published else LIKE)
        return [
            f"{where}.{settings.source}={settings.weights}: nothing says how it is drawn (no "
            f"{FIELD} in a {FACTS} beside it); valid: {where}.like={likes}; or {where}.scheduler="
            f"{', '.join(get_args(Scheduler))} ({OF_BASE}: the base's own)"
        ]

    def _slices(self, row: Row, name: str) -> list[Slice]:
        """All slices of a row; a folder of images has but the scored keys."""
        size = row.size(self.suite.size)
        is_folder = row.settings.source == "images"
        pieces = keys.slices(self.keys) if is_folder else [*self.pieces, *self._repeats(row)]
        is_needed, pictures = self._is_held_against(row), self.options.pictures
        slices = [
            Slice(
                name, piece, size, is_cached=not is_folder,
                is_shown=is_shown(pictures, number), is_needed=is_needed,
            )
            for number, piece in enumerate(pieces)
        ]  # fmt: skip
        return slices if is_folder else [self._cut(n, part) for n, part in enumerate(slices)]

    def _cut(self, number: int, part: Slice) -> Slice:
        """A slice cut to the limit, unless the cache has the whole slice."""
        limit = self.options.limit
        below = tuple(key for key in part.keys if limit is None or key.index < limit)
        if len(below) == len(part) or not self._lacks_images(number, part):
            return part
        return replace(part, keys=below)

    def _lacks_images(self, number: int, part: Slice) -> bool:
        """Whether images must be made: to be shown, scored, or compared with."""
        first = number == 0 and part.is_shown
        asked = first or part.is_needed or not self._is_scored(part)
        return asked and not self._has_images(part)

    def _is_held_against(self, row: Row) -> bool:
        """Whether a metric compares other contestants' pictures with this row's."""
        is_teacher = row.settings.method == "teacher"
        return is_teacher and any(spec(name).paired for name in self.suite.metrics)

    def _repeats(self, row: Row) -> list[tuple[Key, ...]]:
        return self.repeats if is_repeated(row) else []

    def _check_images(self, row: Row) -> list[str]:
        """Refuse a folder of pictures in which some are missing, or some belong to no prompt;
        returns notes on unused files."""
        if row.settings.source not in (*ANCHORS, "images") or not row.settings.weights:
            return []
        folder, indices = Path(row.settings.weights), sorted({key.index for key in self.keys})
        found = picture_folders.complete(folder, indices)
        are_all = self.suite.n is None and self.options.limit is None
        notes = picture_folders.left_over(folder, found, indices, are_all=are_all)
        if row.settings.source == "images":
            size = row.size(self.suite.size)
            picture_folders.check_pictures(found, indices, self.suite.seeds, size)
        return notes

    def _left(self, planned: Planned) -> Planned:
        """The work that is left for one row."""
        if planned.row.settings.source == "recipe":
            planned = self._trained(planned)
        is_held_against = self._is_held_against(planned.row)
        if self.options.precomputed and self.options.export is None and not is_held_against:
            shipped = self._shipped(planned)
            if shipped is not None:
                return shipped
        slices = [
            replace(part, make=self._lacks_images(number, part), score=not self._is_scored(part))
            for number, part in enumerate(planned.slices)
        ]
        return replace(planned, slices=slices)

    def _trained(self, planned: Planned) -> Planned:
        """A recipe's row with the folder of its training, and whether its weights are there.

        Raises UsageError where they are not, and what it is trained on is not there either.
        """
        name = identity.training(planned.row.settings, self.hashes)
        folder = self.options.cache / "trained" / name
        trained = exports.damage(folder / "final") is None
        for clause in () if trained else _lacking_pictures(planned.row):
            raise UsageError(clause)
        return replace(planned, training=folder, trained=trained)

    def _shipped(self, planned: Planned) -> Planned | None:
        """The row with shipped features; a few of its pictures are left to draw, to measure
        seconds. None if no features are shipped for it."""
        row, size = planned.row, planned.row.size(self.suite.size)
        if self._repeats(row):  # of which no features are shipped
            return None
        found = shipped.find(row, planned.identity, self.prompts, self.keys, size, self.extractors)
        if not found:
            return None
        few, shown = tuple(self.keys[:SHOWN]), self.options.pictures != "none"
        live = Slice(planned.identity, few, size, is_shown=shown, is_needed=True)
        live = replace(live, make=not self._has_images(live))
        return replace(planned, slices=[live], shipped=found)

    def _has_images(self, part: Slice) -> bool:
        return not part.is_cached or self.cache.has("images", part.key)

    def _is_scored(self, part: Slice) -> bool:
        """Whether the cache has a slice's features by every extractor."""
        seen_by = [
            self.extractors[name] for name in extractors_of(self.extractors, part.contestant)
        ]
        there = (self.cache.has("features", feature_key(part.key, one)) for one in seen_by)
        return len(seen_by) > 0 and all(there)


def is_repeated(row: Row) -> bool:
    """Whether a row draws a prompt anew with another seed: anchors and folders do not."""
    return row.settings.source not in (*ANCHORS, "images")


def _lacking_pictures(row: Row) -> list[str]:
    """The training pictures that a recipe names (a folder or shards) and that are missing."""
    if row.settings.source != "recipe":
        return []
    data = recipe.load(row.settings.weights).data
    try:
        if data.keys() & {"folder", "webdataset"}:
            sources.find(sources.read_data(data))
    except UsageError as error:
        return [f"contestants.{row.settings.key}.recipe={row.settings.weights}: {error}"]
    return []
