"""Makes one slice at a time: its images and features, from the cache or made now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bench.contestants.pipelines import Networks
from bench.contestants.sampler import Batch
from bench.errors import UsageError, brief, in_a_line, unexpected
from bench.metrics.base import Extractor
from bench.results.entries import Arrays
from bench.results.keys import Key
from bench.results.lossless import Encoder, packed
from bench.run import environment
from bench.run.batches import Batches, Stage
from bench.run.cache import Cache
from bench.run.metric_identities import AGAINST, extractors_of, feature_key
from bench.run.progress import Advance
from bench.run.rows_left import Slice

Images = NDArray[np.uint8]
Record = dict[str, Any]  # how images were made
ALONE = 3  # images of a contestant that are drawn once more, one by one, for their seconds
DARKEST = 2  # a picture with no brighter value (of 255) counts as black


class ImageSource(Protocol):
    """Draws a row's images. stage: the key of its batch size."""

    stage: Stage

    def load(self) -> None:
        """Load it, if it is not loaded."""

    def __call__(self, keys: Sequence[Key]) -> Batch:
        """One image per key."""

    def check(self) -> None:
        """Raise UsageError where its files are not those that the plan names."""


@dataclass(frozen=True)
class Done:
    """A slice's features by extractor, the record of its images, and the images if they were read.

    failed: by extractor, why it has no features.
    """

    features: Arrays
    record: Record
    images: Images | None
    failed: dict[str, str] = field(default_factory=dict)


class Undrawable(UsageError):
    """Why a contestant cannot be drawn, in a run that goes on with the others."""


class NotScored(Exception):
    """An extractor that failed on a batch: which, and why, in one line."""


@dataclass
class Worker:
    """The state that all slices of a run share.

    networks: those in memory. loaded: the row that is loaded, only one since all use the same
    networks. done: names of finished rows. seconds: spent per stage, for the result. scored: number
    of scored images. teacher: gives the teacher's images of some keys, for extractors that compare
    with them. heard: warnings of libraries while a contestant was loaded, by its identity.
    keep_going: errors of a contestant become Undrawable.
    """

    cache: Cache
    batches: Batches
    networks: Networks
    extractors: Mapping[str, Extractor]
    seconds: dict[str, float] = field(default_factory=lambda: {"generate": 0.0, "score": 0.0})
    scored: int = 0
    heard: dict[str, list[str]] = field(default_factory=dict)
    teacher: Callable[[Sequence[Key]], Images] | None = None
    done: set[str] = field(default_factory=set)
    loaded: tuple[object, Callable[[Sequence[Key]], Batch]] | None = None
    keep_going: bool = False

    @property
    def device(self) -> torch.device:
        """Where networks run."""
        return self.networks.device

    def release(self) -> None:
        """Hold no network that draws."""
        self.loaded = None
        self.networks.release()

    @contextlib.contextmanager
    def drawing(self) -> Iterator[None]:
        """Inside the block a contestant is loaded or drawn. Raises Undrawable where it fails and
        the run keeps going."""
        try:
            yield
        except Exception as error:
            if not self.keep_going or isinstance(error, Undrawable):
                raise
            said = (
                in_a_line(error) if isinstance(error, UsageError | OSError) else unexpected(error)
            )
            self.release()  # networks that may be half changed
            raise Undrawable(said) from error

    def images(
        self, part: Slice, source: ImageSource, advance: Advance, *, timeout: float = -1
    ) -> Done:
        """A slice's images; missing ones are made, by one process only.

        timeout: seconds to wait for another process that makes them; below 0 for ever.  Raises
        filelock.Timeout.
        """
        with self.cache.lock("slice", part.key).acquire(timeout=timeout):
            images, record = self._images(part, source, advance)
        return Done({}, record, images)

    def features(
        self, part: Slice, source: ImageSource, advance: Advance, *, show: bool, timeout: float = -1
    ) -> Done:
        """A slice's features, and its images if `show` asks for them or they must be read;
        otherwise as `images`.
        """
        with self.cache.lock("slice", part.key).acquire(timeout=timeout):
            features, record = self._cached_features(part)
            seen_by = extractors_of(self.extractors, part.contestant)
            absent = [name for name in seen_by if name not in features]
            images, failed = None, {}
            if absent or show or record is None:
                alone = part.keys[: ALONE if part.keys[0].index == 0 else 0]
                images, record = self._images(part, source, advance, alone)
            if absent:
                assert images is not None and record is not None
                try:
                    failed = self._add_features(features, absent, part, images, record)
                finally:
                    if not features.keys() >= {*absent}:
                        self._keep(part, images, record)
        return Done(features, record, images, failed)

    def _add_features(
        self, features: Arrays, absent: Sequence[str], part: Slice, images: Images, record: Record
    ) -> dict[str, str]:
        """Add missing features, also to the cache; returns the extractors that failed, and why."""
        failed = {}
        for name in absent:
            try:
                found = self._score(name, images, part.keys)
            except NotScored as error:
                failed[name] = str(error)
                continue
            key = feature_key(part.key, self.extractors[name].identity)
            self.cache.write("features", key, {"features": found}, record)
            features[name] = found
        return failed

    def _keep(self, part: Slice, images: Images, record: Record) -> None:
        """Put images that still need scores into the cache."""
        if not part.is_cached or self.cache.has("images", part.key):
            return
        with Encoder() as encoder:
            encoder.add(images)
            self.cache.write("images", part.key, packed("images", encoder.files()), record)

    def _cached_features(self, part: Slice) -> tuple[Arrays, Record | None]:
        features, record = {}, None
        for name, extractor in self.extractors.items():
            entry = self.cache.read("features", feature_key(part.key, extractor.identity))
            if entry is not None:
                features[name], record = entry.arrays["features"], entry.record
        return features, record

    def _images(
        self, part: Slice, source: ImageSource, advance: Advance, alone: Sequence[Key] = ()
    ) -> tuple[Images, Record]:
        """alone: keys that are drawn once more, one by one."""
        entry = self.cache.read("images", part.key) if part.is_cached else None
        if entry is not None:
            return entry.arrays["images"], entry.record
        began, keep = time.perf_counter(), part.is_cached and part.is_kept
        with self.drawing(), Encoder() as encoder:
            source.load()
            take = encoder.add if keep else None
            images, record = self._make(part.keys, source, advance, take)
            files = encoder.files()
            source.check()
            if alone and record["timings"] and self.batches.of(source.stage) > 1:
                record["alone"] = [{"n": 1, **source([key]).seconds} for key in alone]
        if part.contestant in self.batches.tried:
            record["tried"] = [asdict(one) for one in self.batches.tried[part.contestant]]
        if self.heard.get(part.contestant):
            record["warnings"] = self.heard[part.contestant]
        if keep:
            self.cache.write("images", part.key, packed("images", files), record)
        self.seconds["generate"] += time.perf_counter() - began
        return images, record

    def _make(
        self, keys: Sequence[Key], source: ImageSource, advance: Advance,
        take: Callable[[Images], None] | None,
    ) -> tuple[Images, Record]:  # fmt: skip
        """take: called with the images of each batch."""
        environment.reset_peak(self.device)
        began = time.perf_counter()

        def draw(start: int, stop: int) -> Batch:
            drawn = draw_batch(source, keys[start:stop])
            advance(stop - start)
            if take is not None:
                take(drawn.images)
            return drawn

        starts, parts = self.batches.cut(source.stage, len(keys), draw)
        images = np.concatenate([part.images for part in parts])
        record = {
            "batch": self.batches.of(source.stage),
            "device": str(self.device),
            "seconds": time.perf_counter() - began,
            "timings": [{"n": len(p.images), **p.seconds} for p in parts if p.seconds],
            "unet_forwards": sum(part.unet_forwards for part in parts),
            "peak_bytes": environment.peak_bytes(self.device),
            "broken": [s + i for s, p in zip(starts, parts, strict=True) for i in p.broken],
            "truncated": [s + i for s, p in zip(starts, parts, strict=True) for i in p.truncated],
            "black": np.flatnonzero(images.max(axis=(1, 2, 3)) <= DARKEST).tolist(),
            "notes": _notes(starts, parts),
        }
        return images, record

    def _score(self, name: str, images: Images, keys: Sequence[Key]) -> NDArray[np.float32]:
        look, beside = self._look(name, keys)
        began = time.perf_counter()

        def features(start: int, stop: int) -> NDArray[np.float32]:
            where = f"{name}, prompts {keys[start].index} to {keys[stop - 1].index}"
            try:
                found: NDArray[np.float32] = look(images[start:stop], beside[start:stop])
            except (UsageError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # any error: the other metrics and slices go on
                raise NotScored(f"{where}: {type(error).__name__}: {brief(error)}") from error
            if not _usable(self.extractors[name], found):
                raise NotScored(f"{where}: gave values that are not finite")
            return found

        parts = self.batches.cut(Stage("score", name, images.shape[1]), len(images), features)[1]
        self.seconds["score"] += time.perf_counter() - began
        self.scored += len(images)
        return np.concatenate(parts)

    def _look(self, name: str, keys: Sequence[Key]) -> tuple[Callable[..., Any], Any]:
        """The call of an extractor on images with their prompts, or with the teacher's images of
        the same keys."""
        extractor: Any = self.extractors[name]
        if AGAINST not in name:
            return extractor, [key.prompt for key in keys]
        assert self.teacher is not None
        return extractor.between, self.teacher(keys)


def draw_batch(source: ImageSource, keys: Sequence[Key]) -> Batch:
    """The images of a run, batch by batch; those for warming up and timing aside."""
    return source(keys)


def _notes(starts: Sequence[int], parts: Sequence[Batch]) -> dict[str, list[int]]:
    """Conversions of picture files, with their positions in a slice."""
    found: dict[str, list[int]] = {}
    for start, part in zip(starts, parts, strict=True):
        for note, places in part.notes.items():
            found.setdefault(note, []).extend(start + place for place in places)
    return found


def _usable(extractor: Extractor, found: NDArray[np.float32]) -> bool:
    """Whether features are finite, as far as they have to be."""
    asked = found[:, :1] if extractor.partial else found
    return bool(np.isfinite(asked).all() and not np.isinf(found).any())
