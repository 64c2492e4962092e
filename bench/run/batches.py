"""Batch sizes: how many images go through a network at once, as memory allows.

Each contestant has a number of its own, and so has each extractor; both by the size of the images.
A batch that does not fit is halved for that one alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

import torch

from bench.contestants.own_sampler import OwnSampler
from bench.contestants.pipelines import free
from bench.contestants.sampler import Sampler
from bench.errors import UsageError
from bench.metrics import make_room
from bench.results.keys import Key
from bench.results.summary import TriedBatch, best_batch
from bench.run.hardware import pictures_at_once

T = TypeVar("T")
GAIN = 1.05  # a batch must draw so many times the images per second of all smaller ones
TIMES = 2  # batches that are timed of each size, the faster of which counts


class Stage(NamedTuple):
    """A kind of work on images, who does it, and their height and width in pixels.

    what: "draw" by a contestant, its VAE included, which decodes a megapixel at once whatever the
    batch; or "score" by an extractor.
    """

    what: str
    who: str
    size: int

    def __str__(self) -> str:
        return f"{self.what} {self.who}, {self.size} px"


@dataclass
class Batches:
    """given: images at once, as the command line has them; None: by device and size.

    halved: each time that a batch was too large for the device.  tried: batches that were, by a
    contestant's identity, where the best was searched for.
    """

    device: torch.device
    given: int | None = None
    halved: list[str] = field(default_factory=list)
    tried: dict[str, list[TriedBatch]] = field(default_factory=dict)
    _own: dict[Stage, int] = field(default_factory=dict)

    def first(self, size: int) -> int:
        """The batch size that every stage begins with."""
        return self.given or pictures_at_once(self.device.type, size)

    def of(self, stage: Stage) -> int:
        """Images at once."""
        return self._own.get(stage, self.first(stage.size))

    def one_at_a_time(self, stage: Stage) -> None:
        """Go on with single images, whatever the device could hold."""
        self._own[stage] = 1

    def cut(
        self, stage: Stage, count: int, make: Callable[[int, int], T]
    ) -> tuple[list[int], list[T]]:
        """Where each batch of `count` images begins, and what `make(begin, end)` gave for it; what
        memory does not hold is made again, in smaller ones. Raises UsageError for a single one."""
        starts, parts, start = [], [], 0
        while start < count:
            stop = min(count, start + self.of(stage))
            part = self._fits(stage, stop - start, partial(make, start, stop))
            if part is None:
                continue
            starts.append(start)
            parts.append(part)
            start = stop
        return starts, parts

    def warm_up(self, stage: Stage, run: Callable[[int], None], most: int) -> None:
        """Run once on a batch, of at most so many, that memory holds."""
        done = None
        while done is None:
            count = min(self.of(stage), most)
            done = self._fits(stage, count, partial(_after, run, count))

    def find_best(
        self, stage: Stage, identity: str, sampler: Sampler | OwnSampler, keys: Sequence[Key]
    ) -> list[TriedBatch]:
        """Go on with the batch that draws most images per second, tried once in a run.

        keys: what may be drawn for it.  Only CUDA tells that its memory ran out, another system may
        end the process: elsewhere nothing larger than the device's default is tried.
        """
        if identity not in self.tried:
            self._own[stage] = 1
            self.warm_up(stage, sampler.warm_up, 1)  # refuses where not even one image fits
            kind = self.device.type
            most = len(keys) if kind == "cuda" else pictures_at_once(kind, stage.size)
            self.tried[identity] = try_batches(sampler, keys, most)
            self._own[stage] = best_batch(self.tried[identity])
        return self.tried[identity]

    def _fits(self, stage: Stage, count: int, make: Callable[[], T]) -> T | None:
        """The result of `make`, or None if memory does not suffice for so many images. Then the
        metrics' networks are moved off the device for drawing, else the stage's batch is halved
        from now on and a line says so."""
        with contextlib.suppress(torch.OutOfMemoryError):
            return make()
        if stage.what == "draw" and make_room(str(self.device)):
            return None
        if count == 1:
            raise UsageError(
                f"out of memory on {self.device}: it cannot {stage.what} a single image of "
                f"{stage.size} px; try a smaller size=, or device=cpu"
            )
        self._own[stage] = count // 2
        free(self.device)
        self.halved.append(f"{stage}: {count} images at once, then {count // 2}")
        print(f"{stage}: out of memory with {count} images at once; going on with {count // 2}")
        return None


def _after(run: Callable[[int], None], count: int) -> bool:
    run(count)
    return True


def try_batches(sampler: Sampler | OwnSampler, keys: Sequence[Key], most: int) -> list[TriedBatch]:
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


def _images_per_second(sampler: Sampler | OwnSampler, keys: Sequence[Key]) -> float | None:
    """After a warm-up at this size, by the sampler's clock, which waits for the device; None where
    memory ran out."""
    with contextlib.suppress(torch.OutOfMemoryError):
        sampler.warm_up(len(keys))
        seconds = min(sum(sampler(keys).seconds.values()) for _ in range(TIMES))
        return len(keys) / seconds
    free(sampler.device)
    return None
