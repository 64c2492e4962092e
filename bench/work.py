"""One slice of work at a time: its images and features, from the cache or made now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench import environment
from bench.contestants import Source
from bench.errors import UsageError
from bench.keys import Key, slice_key
from bench.metrics.base import Extractor
from bench.pictures import Batch
from bench.plan import feature_key
from bench.progress import Advance
from bench.store import Arrays, Store

DARKEST = 2  # a picture with no brighter value (of 255) counts as black
BATCH = {"cpu": 50, "mps": 50, "cuda": 100}


@dataclass(frozen=True)
class Done:
    """A slice's features by extractor, how its images were made, and the images if read."""

    features: Arrays
    record: dict[str, Any]
    images: NDArray[np.uint8] | None


@dataclass
class Worker:
    """What all slices of a run share. seconds: spent per stage, for the result.

    rendering, scoring: seconds per image that were measured on the way.
    """

    store: Store
    size: int
    batch: int
    device: torch.device
    extractors: Mapping[str, Extractor]
    seconds: dict[str, float] = field(default_factory=lambda: {"generate": 0.0, "score": 0.0})
    scored: int = 0

    def slice(
        self,
        identity: str,
        keys: Sequence[Key],
        source: Callable[[], Source],
        advance: Advance,
        *,
        show: bool,
        score: bool = True,
        keep: bool = True,
    ) -> Done:
        """Images and features of a slice; what is missing is made, by this process alone.

        source: called only where an image must be made.  show: the images are wanted as well.
        score: the features are wanted.  keep: the images go into the cache.
        """
        name = slice_key(identity, keys, self.size)
        with self.store.lock("slice", name):
            features, record = self._cached_features(name) if score else ({}, None)
            absent = [e for e in self.extractors if e not in features] if score else []
            images = None
            if absent or show or record is None:
                images, record = self._images(name, keys, source, advance, keep)
            for extractor in absent:
                assert images is not None
                features[extractor] = self._score(extractor, images, keys)
                arrays = {"features": features[extractor]}
                key = feature_key(name, self.extractors[extractor].identity)
                self.store.write("features", key, arrays, record)
        return Done(features, record, images)

    def _cached_features(self, name: str) -> tuple[Arrays, dict[str, Any] | None]:
        features, record = {}, None
        for extractor, network in self.extractors.items():
            entry = self.store.read("features", feature_key(name, network.identity))
            if entry is not None:
                features[extractor], record = entry.arrays["features"], entry.record
        return features, record

    def _images(
        self, name: str, keys: Sequence[Key], source: Callable[[], Source], advance: Advance,
        keep: bool,
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:  # fmt: skip
        entry = self.store.read("images", name) if keep else None
        if entry is not None:
            return entry.arrays["images"], entry.record
        began = time.perf_counter()
        images, record = self._make(keys, source(), advance)
        if keep:
            self.store.write("images", name, {"images": images}, record)
        self.seconds["generate"] += time.perf_counter() - began
        return images, record

    def _make(
        self, keys: Sequence[Key], source: Source, advance: Advance
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        environment.reset_peak(self.device)
        parts: list[Batch] = []
        began = time.perf_counter()
        for start in range(0, len(keys), self.batch):
            part = keys[start : start + self.batch]
            parts.append(_drawn(source, part))
            advance(len(part))
        images = np.concatenate([part.images for part in parts])
        starts = range(0, len(keys), self.batch)
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
        began = time.perf_counter()
        network, size = self.extractors[name], self.batch
        parts = [
            network(images[i : i + size], [key.prompt for key in keys[i : i + size]])
            for i in range(0, len(images), size)
        ]
        self.seconds["score"] += time.perf_counter() - began
        self.scored += len(images)
        return np.concatenate(parts)


def _drawn(source: Source, keys: Sequence[Key]) -> Batch:
    """A batch of images. Raises UsageError where the device's memory does not hold it."""
    try:
        return source(keys)
    except torch.OutOfMemoryError:
        half = max(1, len(keys) // 2)
        raise UsageError(
            f"out of memory with {len(keys)} images at once; try batch={half}"
        ) from None
