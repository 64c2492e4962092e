"""One slice of work at a time: its images and features, from the cache or made now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from bench.contestants.pictures import Batch
from bench.contestants.source import Source
from bench.errors import UsageError, brief
from bench.metrics.base import Extractor
from bench.results.entries import Arrays
from bench.results.keys import Key, slice_key
from bench.results.summary import TriedBatch
from bench.run import environment
from bench.run.cache import Store
from bench.run.judges import AGAINST, feature_key, judged
from bench.run.progress import Advance

T = TypeVar("T")
ALONE = 3  # images of a contestant that are drawn once more, one by one, for their seconds
DARKEST = 2  # a picture with no brighter value (of 255) counts as black


@dataclass(frozen=True)
class Done:
    """A slice's features by extractor, how its images were made, and the images if read.

    failed: why there are none of an extractor.
    """

    features: Arrays
    record: dict[str, Any]
    images: NDArray[np.uint8] | None
    failed: dict[str, str] = field(default_factory=dict)


class NotScored(Exception):
    """An extractor that failed on a batch: which, and why, in one line."""


@dataclass
class Worker:
    """What all slices of a run share. seconds: spent per stage, for the result.

    scored: images that were.  teacher: the teacher's own images of some keys, for extractors that
    hold a contestant's against them.  halved: each time that a batch was too large for the device.
    tried: batches that were, by a contestant's identity, where the best was searched for.
    """

    store: Store
    size: int
    batch: int
    device: torch.device
    extractors: Mapping[str, Extractor]
    seconds: dict[str, float] = field(default_factory=lambda: {"generate": 0.0, "score": 0.0})
    scored: int = 0
    halved: list[str] = field(default_factory=list)
    tried: dict[str, list[TriedBatch]] = field(default_factory=dict)
    teacher: Callable[[Sequence[Key]], NDArray[np.uint8]] | None = None

    def warm_up(self, run: Callable[[int], None], most: int) -> None:
        """Let a sampler run once on a batch, of at most so many, that the device's memory holds."""
        done = None
        while done is None:
            count = min(self.batch, most)
            done = self._fits("draw", count, partial(_after, run, count))

    def slice(
        self,
        identity: str,
        keys: Sequence[Key],
        source: Callable[[], Source],
        advance: Advance,
        *,
        show: bool,
        size: int | None = None,
        score: bool = True,
        keep: bool = True,
        timeout: float = -1,
    ) -> Done:
        """Images and features of a slice; what is missing is made, by this process alone.

        source: called only where an image must be made.  show: the images are wanted as well.
        size: of an image, where it is not the usual one.
        score: the features are wanted.  keep: the images go into the cache.  timeout: seconds to
        wait for another process that is at it; below 0 for ever.  Raises filelock.Timeout.
        """
        name = slice_key(identity, keys, size or self.size)
        with self.store.lock("slice", name).acquire(timeout=timeout):
            features, record = self._cached_features(name) if score else ({}, None)
            wanted = judged(self.extractors, identity) if score else []
            absent = [e for e in wanted if e not in features]
            images, failed = None, {}
            if absent or show or record is None:
                alone = score and keys[0].index == 0
                images, record = self._images(name, identity, keys, source, advance, keep, alone)
            for extractor in absent:
                assert images is not None
                try:
                    features[extractor] = self._score(extractor, images, keys)
                except NotScored as error:
                    failed[extractor] = str(error)
                    continue
                arrays = {"features": features[extractor]}
                key = feature_key(name, self.extractors[extractor].identity)
                self.store.write("features", key, arrays, record)
        return Done(features, record, images, failed)

    def _cached_features(self, name: str) -> tuple[Arrays, dict[str, Any] | None]:
        features, record = {}, None
        for extractor, network in self.extractors.items():
            entry = self.store.read("features", feature_key(name, network.identity))
            if entry is not None:
                features[extractor], record = entry.arrays["features"], entry.record
        return features, record

    def _images(
        self, name: str, identity: str, keys: Sequence[Key], source: Callable[[], Source],
        advance: Advance, keep: bool, alone: bool,
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:  # fmt: skip
        entry = self.store.read("images", name) if keep else None
        if entry is not None:
            return entry.arrays["images"], entry.record
        began = time.perf_counter()
        made = source()
        images, record = self._make(keys, made, advance)
        if alone and record["timings"] and self.batch > 1:
            parts = [made([key]) for key in keys[:ALONE]]
            record["alone"] = [{"n": 1, **part.seconds} for part in parts]
        if identity in self.tried:
            record["tried"] = [asdict(one) for one in self.tried[identity]]
        if keep:
            self.store.write("images", name, {"images": images}, record)
        self.seconds["generate"] += time.perf_counter() - began
        return images, record

    def _make(
        self, keys: Sequence[Key], source: Source, advance: Advance
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        environment.reset_peak(self.device)
        began = time.perf_counter()

        def draw(start: int, stop: int) -> Batch | None:
            drawn = self._fits("draw", stop - start, lambda: _drawn(source, keys[start:stop]))
            if drawn is not None:
                advance(stop - start)
            return drawn

        starts, parts = self._in_batches(len(keys), draw)
        images = np.concatenate([part.images for part in parts])
        record = {
            "batch": self.batch,
            "device": str(self.device),
            "seconds": time.perf_counter() - began,
            "timings": [{"n": len(p.images), **p.seconds} for p in parts if p.seconds],
            "peak_bytes": environment.peak_bytes(self.device),
            "broken": [s + i for s, p in zip(starts, parts, strict=True) for i in p.broken],
            "truncated": [s + i for s, p in zip(starts, parts, strict=True) for i in p.truncated],
            "black": np.flatnonzero(images.max(axis=(1, 2, 3)) <= DARKEST).tolist(),
        }
        return images, record

    def _score(
        self, name: str, images: NDArray[np.uint8], keys: Sequence[Key]
    ) -> NDArray[np.float32]:
        look, beside = self._look(name, keys)
        began = time.perf_counter()

        def features(start: int, stop: int) -> NDArray[np.float32] | None:
            some = lambda: look(images[start:stop], beside[start:stop])  # noqa: E731
            where = f"{name}, prompts {keys[start].index} to {keys[stop - 1].index}"
            try:
                found = self._fits("score", stop - start, some)
            except UsageError:
                raise
            except Exception as error:  # of whatever kind: the other metrics and slices go on
                raise NotScored(f"{where}: {type(error).__name__}: {brief(error)}") from error
            if found is not None and not _usable(self.extractors[name], found):
                raise NotScored(f"{where}: gave values that are not finite")
            return found

        parts = self._in_batches(len(images), features)[1]
        self.seconds["score"] += time.perf_counter() - began
        self.scored += len(images)
        return np.concatenate(parts)

    def _look(self, name: str, keys: Sequence[Key]) -> tuple[Callable[..., Any], Any]:
        """What an extractor does with images, and what they are seen beside: their prompts, or the
        teacher's own images of them."""
        network: Any = self.extractors[name]
        if AGAINST not in name:
            return network, [key.prompt for key in keys]
        assert self.teacher is not None
        return network.between, self.teacher(keys)

    def _in_batches(
        self, count: int, make: Callable[[int, int], T | None]
    ) -> tuple[list[int], list[T]]:
        """Where each batch begins, and what `make(begin, end)` gave for it; a batch for which it
        gives None is tried again, smaller."""
        starts, parts, start = [], [], 0
        while start < count:
            stop = min(count, start + self.batch)
            part = make(start, stop)
            if part is None:
                continue
            starts.append(start)
            parts.append(part)
            start = stop
        return starts, parts

    def _fits(self, what: str, count: int, make: Callable[[], T]) -> T | None:
        """What `make` gives, or None where the device's memory does not hold so many images: the
        batch is half as large from then on, and it is said. Raises UsageError for a single one."""
        with contextlib.suppress(torch.OutOfMemoryError):
            return make()
        if count == 1:
            raise UsageError(f"out of memory on {self.device}: it cannot {what} a single image of "
                             f"{self.size} px; try a smaller size=, or device=cpu")  # fmt: skip
        self.batch = count // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.halved.append(f"{what}: {count} images at once, then {self.batch}")
        print(f"out of memory with {count} images at once; going on with {self.batch}")
        return None


def _after(run: Callable[[int], None], count: int) -> bool:
    run(count)
    return True


def _usable(network: Extractor, found: NDArray[np.float32]) -> bool:
    """Whether features are finite, as far as they have to be."""
    asked = found[:, :1] if network.partial else found
    return bool(np.isfinite(asked).all() and not np.isinf(found).any())


def _drawn(source: Source, keys: Sequence[Key]) -> Batch:
    """A batch of images."""
    return source(keys)
