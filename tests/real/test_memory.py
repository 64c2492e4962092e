"""A batch that the device's memory does not hold: halved for what it was too large for, alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.contestants.pipelines import Networks
from bench.contestants.sampler import Batch
from bench.errors import UsageError
from bench.results.keys import Key
from bench.run import batches
from bench.run.batches import Batches, Stage
from bench.run.cache import Cache
from bench.run.rows_left import Slice
from bench.run.worker import Worker

DRAWING = Stage("draw", "me", 8)
PART = Slice("me", tuple(Key(index, f"prompt {index}", 0) for index in range(20)), 8)


@dataclass
class Shades:
    """Pictures in the shade of their prompt's number, at most so many at once."""

    most: int
    calls: list[int] = field(default_factory=list)
    stage: Stage = DRAWING

    def check(self) -> None:
        pass

    def load(self) -> None:
        """There is nothing to load."""

    def __call__(self, keys: Sequence[Key]) -> Batch:
        self.calls.append(len(keys))
        if len(keys) > self.most:
            raise torch.OutOfMemoryError
        shades = np.array([key.index + 10 for key in keys], np.uint8)
        return Batch(np.broadcast_to(shades[:, None, None, None], (len(keys), 8, 8, 3)).copy())


class Judge:
    """Mean of a picture, at most three pictures at once."""

    name = identity = "judge"
    partial = False

    def __call__(self, images: Any, prompts: Sequence[str]) -> Any:
        if len(images) > 3:
            raise torch.OutOfMemoryError
        return images.reshape(len(images), -1).mean(axis=1, keepdims=True).astype(np.float32)


def worker(folder: Path, batch: int | None) -> Worker:
    cpu = torch.device("cpu")
    return Worker(Cache(folder), Batches(cpu, batch), Networks(cpu), {"judge": Judge()})


def test_it_is_halved_said_and_nothing_is_lost(tmp_path: Path, capsys: Any) -> None:
    one, source, advanced = worker(tmp_path, 16), Shades(5), list[int]()
    done = one.features(PART, source, advanced.append, show=True)
    assert source.calls == [16, 8, 4, 4, 4, 4, 4] and sum(advanced) == 20
    np.testing.assert_array_equal(done.features["judge"][:, 0], np.arange(20) + 10)
    assert done.record["batch"] == 4
    assert one.batches.halved == [
        "draw me, 8 px: 16 images at once, then 8", "draw me, 8 px: 8 images at once, then 4",
        *(f"score judge, 8 px: {n} images at once, then {n // 2}" for n in (16, 8, 4)),
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert "draw me, 8 px: out of memory with 16 images at once; going on with 8" in said


def test_other_contestants_sizes_and_scoring_keep_theirs(tmp_path: Path) -> None:
    """A later row of the same contestant goes on with what fitted."""
    one = worker(tmp_path, 16)
    one.images(PART, Shades(5), lambda n: None)
    for name, size, calls in (("me", 8, [4] * 5), ("you", 8, [16, 4]), ("me", 4, [16, 4])):
        source = Shades(100, stage=Stage("draw", name, size))
        one.images(replace(PART, contestant=f"{name} {size}"), source, lambda n: None)
        assert source.calls == calls, name
    assert one.batches.of(Stage("score", "judge", 8)) == 16


def test_a_smaller_size_begins_with_more_images(tmp_path: Path) -> None:
    batches = worker(tmp_path, None).batches
    assert [batches.of(Stage("draw", "me", size)) for size in (1024, 512, 64)] == [1, 4, 50]


def test_a_single_image_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot draw a single image of 8 px"):
        worker(tmp_path, 4).images(PART, Shades(0), lambda n: None)


def test_warming_up_finds_the_batch(tmp_path: Path) -> None:
    batches, tried = worker(tmp_path, 16).batches, list[int]()

    def run(count: int) -> None:
        tried.append(count)
        if count > 5:
            raise torch.OutOfMemoryError

    batches.warm_up(DRAWING, run, most=100)
    assert tried == [16, 8, 4] and batches.of(DRAWING) == 4


def test_networks_that_judge_leave_the_device_for_the_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit beside them fits without, and the batch stays as it is."""
    one, source = worker(tmp_path, 16), Shades(5)

    def leave(device: str) -> bool:
        was, source.most = source.most, 16
        return was < 16

    monkeypatch.setattr(batches, "make_room", leave)
    one.images(PART, source, lambda n: None)
    assert source.calls == [16, 16, 4] and not one.batches.halved
