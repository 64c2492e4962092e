"""A batch that the device's memory does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.contestants.sampler import Batch
from bench.errors import UsageError
from bench.results.keys import Key
from bench.run.cache import Cache
from bench.run.rows_left import Slice
from bench.run.worker import Worker

PART = Slice("me", tuple(Key(index, f"prompt {index}", 0) for index in range(20)), 8)


@dataclass
class Shades:
    """Pictures in the shade of their prompt's number, at most so many at once."""

    most: int
    calls: list[int] = field(default_factory=list)

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


def worker(folder: Path, batch: int) -> Worker:
    return Worker(Cache(folder), 8, batch, torch.device("cpu"), {"judge": Judge()})


def test_it_is_halved_said_and_nothing_is_lost(tmp_path: Path, capsys: Any) -> None:
    one, source, advanced = worker(tmp_path, 16), Shades(5), list[int]()
    done = one.features(PART, source, advanced.append, show=True)
    assert source.calls == [16, 8, 4, 4, 4, 4, 4] and sum(advanced) == 20
    np.testing.assert_array_equal(done.features["judge"][:, 0], np.arange(20) + 10)
    assert done.record["batch"] == 4 and one.batch == 2
    assert one.halved == ["draw: 16 images at once, then 8", "draw: 8 images at once, then 4",
                          "score: 4 images at once, then 2"]  # fmt: skip
    assert "going on with 8" in capsys.readouterr().out


def test_a_single_image_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot draw a single image"):
        worker(tmp_path, 4).images(PART, Shades(0), lambda n: None)


def test_warming_up_finds_the_batch(tmp_path: Path) -> None:
    one, tried = worker(tmp_path, 16), list[int]()

    def run(count: int) -> None:
        tried.append(count)
        if count > 5:
            raise torch.OutOfMemoryError

    one.warm_up(run, most=100)
    assert tried == [16, 8, 4] and one.batch == 4
