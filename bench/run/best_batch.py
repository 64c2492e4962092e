"""`batch=best`: the batch at which a contestant draws the most images per second, by trying."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch

from bench.contestants.sampler import Sampler
from bench.results.keys import Key
from bench.results.summary import TriedBatch

GAIN = 1.05  # a batch must draw so many times the images per second of all smaller ones
TIMES = 2  # batches that are timed of each size, the faster of which counts


def tried(sampler: Sampler, keys: Sequence[Key], most: int) -> list[TriedBatch]:
    """Images per second at 1, 2, 4, ... images at once, up to the first size that memory does not
    hold or that draws at most 5 % more per second than the best so far.

    keys: what is drawn, the first of them at every size; no picture is kept.  most: images at once.
    """
    found: list[TriedBatch] = []
    best, size = 0.0, 1
    while size <= min(most, len(keys)):
        rate = _images_per_second(sampler, keys[:size])
        found.append(TriedBatch(size, rate))
        if rate is None or rate <= GAIN * best:
            break
        best, size = rate, 2 * size
    return found


def _images_per_second(sampler: Sampler, keys: Sequence[Key]) -> float | None:
    """After a warm-up at this size, by the sampler's clock, which waits for the device; None where
    memory ran out."""
    with contextlib.suppress(torch.OutOfMemoryError):
        sampler.warm_up(len(keys))
        seconds = min(sum(sampler(keys).seconds.values()) for _ in range(TIMES))
        return len(keys) / seconds
    if sampler.device.type == "cuda":
        torch.cuda.empty_cache()
    return None
