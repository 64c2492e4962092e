"""What is left to make of each row of a result: slices of images, features, a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.contestants import identity
from bench.contestants.hashes import Hashes
from bench.errors import UsageError
from bench.results import keys
from bench.results.entries import Arrays
from bench.results.keys import Key
from bench.run import shipped
from bench.run.cache import Store
from bench.run.judges import feature_key, judged
from bench.run.options import RunOptions
from bench.suite.contestant import ANCHORS, Row
from bench.suite.prompts import PromptSet
from bench.suite.suite import Suite
from hypersd.hub import NotFetched

SHOWN = 24  # prompts whose pictures a report can show, and the live pictures of a shipped row


@dataclass(frozen=True)
class Planned:
    """One row of the result and the slices of work that are left of it.

    pieces: the slices it needs.  make, score: those whose images, or only features, are missing.
    shipped: features that came with the project, one row for each scored key.
    training: the folder of a recipe's training; trained: its weights are there, as far as is known
    before its base is fetched.
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
class Work:
    """What all rows of a run share. prompts: all of the set.  keys: the scored ones.  extractors:
    identities by name.  more: slices of a suite's `repeats`, beside those of its seeds."""

    suite: Suite
    options: RunOptions
    prompts: PromptSet
    keys: list[Key]
    extractors: Mapping[str, str]
    store: Store
    hashes: Hashes
    more: list[tuple[Key, ...]] = field(default_factory=list)

    def row(self, row: Row, pieces: list[tuple[Key, ...]]) -> tuple[Planned, list[str]]:
        """A row, and what is missing to make it; of one that lacks something, all is left.

        pieces: the slices of a contestant that is drawn; a folder of images has but the scored
        keys.
        """
        foreign = row.settings.source == "images"
        own = [*pieces, *self._repeats(row)]
        planned = Planned(row, "", keys.slices(self.keys) if foreign else own)
        try:
            name = identity.contestant(row, self.prompts, self.hashes)
            planned = replace(planned, identity=name)
            _check(row, self.keys, self.suite)
            return self._left(planned), []
        except NotFetched:
            known = row.settings.source != "recipe"
            whole = replace(planned, make=planned.pieces, score=planned.pieces, trained=known)
            return whole, _without_pictures(row)
        except UsageError as error:
            return replace(planned, identity=""), [str(error)]

    def _repeats(self, row: Row) -> list[tuple[Key, ...]]:
        return self.more if is_repeated(row) else []

    def _left(self, planned: Planned) -> Planned:
        """What is left to do for one row."""
        row, name, size = planned.row, planned.identity, planned.row.size(self.suite.size)
        if row.settings.source == "recipe":
            planned = self._trained(planned)
        judges = [self.extractors[e] for e in judged(self.extractors, name)]
        is_held_against = len(judges) < len(self.extractors)  # then all its images are needed
        if self.options.precomputed and self.options.export is None and not is_held_against:
            shipped = self._shipped(planned)
            if shipped is not None:
                return shipped
        make, score = [], []
        for number, piece in enumerate(planned.pieces):
            key = keys.slice_key(name, piece, size)
            scores = self._are_scored(key, judges)
            images = row.settings.source == "images" or self.store.has("images", key)
            if not images and (number == 0 or not scores or is_held_against):
                make.append(piece)
            if not scores:
                score.append(piece)
        return replace(planned, make=make, score=score)

    def _trained(self, planned: Planned) -> Planned:
        """A recipe's row with the folder of its training, and whether its weights are there.

        Raises UsageError where they are not, and what it is trained on is not there either.
        """
        from hypersd import exports

        name = identity.training(planned.row.settings, self.hashes)
        folder = self.options.cache / "trained" / name
        trained = exports.damage(folder / "final") is None
        for said in () if trained else _without_pictures(planned.row):
            raise UsageError(said)
        return replace(planned, training=folder, trained=trained)

    def _shipped(self, planned: Planned) -> Planned | None:
        """The row with features that came with the project, a few of its pictures left to make;
        None where there are no such features."""
        row, name, size = planned.row, planned.identity, planned.row.size(self.suite.size)
        if self._repeats(row):  # of which no features are shipped
            return None
        found = shipped.find(row, name, self.prompts, self.keys, size, self.extractors)
        if not found:
            return None
        live = tuple(self.keys[:SHOWN])
        there = self.store.has("images", keys.slice_key(name, live, size))
        return replace(planned, pieces=[live], make=[] if there else [live], shipped=found)

    def _are_scored(self, key: str, judges: list[str]) -> bool:
        """Whether the cache has a slice's features of every judge."""
        there = (self.store.has("features", feature_key(key, judge)) for judge in judges)
        return len(judges) > 0 and all(there)


def is_repeated(row: Row) -> bool:
    """Whether a row draws a prompt anew with another seed: anchors and folders do not."""
    return row.settings.source not in (*ANCHORS, "images")


def _check(row: Row, scored: list[Key], suite: Suite) -> None:
    if row.settings.source == "images":
        from bench.contestants.pictures import check_folder

        indices = sorted({key.index for key in scored})
        check_folder(Path(row.settings.weights), indices, suite.seeds, row.size(suite.size))
    elif row.settings.source in ANCHORS and row.settings.weights:
        from bench.contestants.pictures import check_complete

        check_complete(Path(row.settings.weights), sorted({key.index for key in scored}))


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
