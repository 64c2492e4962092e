"""`batch=best`, with seconds that are made up: which sizes are tried, and what a run remembers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.contestants.sampler import Batch, Sampler
from bench.results.entries import read_entry
from bench.results.keys import Key
from bench.results.summary import best_batch
from bench.run.batches import try_batches

KEYS = [Key(index, f"prompt {index}", 0) for index in range(20)]
RATES = {1: 1.0, 2: 1.9, 4: 3.0, 8: 3.1, 16: 9.0}  # images per second; 8 gains 3.3 %
Bench = Callable[..., int]


@dataclass
class Fake:
    """Draws nothing, in seconds that follow from RATES; the first batch of a size is slower."""

    holds: int = 100
    device: torch.device = torch.device("cpu")  # noqa: RUF009
    calls: list[int] = field(default_factory=list)
    warmed: list[int] = field(default_factory=list)

    def warm_up(self, batch: int) -> None:
        self.warmed.append(batch)

    def __call__(self, keys: Sequence[Key]) -> Batch:
        count, again = len(keys), len(keys) in self.calls
        self.calls.append(count)
        if count > self.holds:
            raise torch.OutOfMemoryError
        seconds = count / RATES[count] * (1 if again else 1.5)
        return Batch(np.zeros((count, 8, 8, 3), np.uint8), {"unet": 0.75 * seconds,
                                                            "rest": 0.25 * seconds})  # fmt: skip


def sizes(sampler: Any, keys: Sequence[Key] = KEYS, most: int = 100) -> dict[int, float | None]:
    found = try_batches(sampler, keys, most)
    return {one.batch: one.images_per_second for one in found}


def test_it_ends_where_a_larger_batch_gains_little() -> None:
    one: Any = Fake()
    assert sizes(one) == pytest.approx({size: RATES[size] for size in (1, 2, 4, 8)})
    assert one.warmed == [1, 2, 4, 8] and one.calls == [1, 1, 2, 2, 4, 4, 8, 8]
    assert best_batch(try_batches(one, KEYS, 100)) == 8


def test_it_ends_where_memory_does() -> None:
    one: Any = Fake(holds=2)
    assert sizes(one) == {1: pytest.approx(1.0), 2: pytest.approx(1.9), 4: None}
    assert best_batch(try_batches(one, KEYS, 100)) == 2


def test_it_ends_where_images_or_the_limit_do() -> None:
    assert list(sizes(Fake(), KEYS[:3])) == [1, 2]
    assert list(sizes(Fake(), most=1)) == [1]


def result(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "result.json").read_text())["contestants"]
    return found


def slices(cache: Path) -> dict[str, Any]:
    """Every slice of images by its name."""
    paths = (cache / "images").rglob("*.safetensors")
    return {path.stem: read_entry(path).arrays["images"] for path in paths}


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real pictures in seconds of RATES; more than four at once do not fit."""
    draw = Sampler.__call__

    def call(self: Sampler, keys: Sequence[Key]) -> Batch:
        if len(keys) > 4:
            raise torch.OutOfMemoryError
        return replace(draw(self, keys), seconds={"unet": len(keys) / RATES.get(len(keys), 1.0)})

    monkeypatch.setattr(Sampler, "__call__", call)


@pytest.mark.usefixtures("timed")
def test_a_run_goes_on_with_it_and_draws_the_same_pictures(bench: Bench, world: Path) -> None:
    assert bench("out=run", "batch=best") == 0
    assert bench("out=plain", "batch=3", "cache=other") == 0
    found, plain = result(world / "run"), result(world / "plain")
    for one in found[:2]:
        rates = {each["batch"]: each["images_per_second"] for each in one["tried_batches"]}
        assert rates.pop(8) is None and rates == pytest.approx({1: 1.0, 2: 1.9, 4: 3.0})
        assert one["seconds_per_image"]["batch"] == 4
        assert one["seconds_per_image"]["median"] == pytest.approx(1 / 3.0)
    assert found[2]["tried_batches"] == plain[0]["tried_batches"] == []
    assert [one["identity"] for one in found] == [one["identity"] for one in plain]
    mine, theirs = slices(world / "runs/cache"), slices(world / "other")
    assert mine.keys() == theirs.keys() and len(mine) > 0
    for name, images in mine.items():
        assert np.abs(images.astype(int) - theirs[name]).max() <= 1


@pytest.mark.usefixtures("timed")
def test_the_same_command_remembers_it_and_tries_nothing(
    bench: Bench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench("out=run", "batch=best") == 0
    first = result(world / "run")
    monkeypatch.setattr("bench.run.batches.try_batches", None)  # a call would fail
    assert bench("out=run", "batch=best") == 0
    assert [c["tried_batches"] for c in result(world / "run")] == [
        c["tried_batches"] for c in first]  # fmt: skip
    page = (world / "run/report.html").read_text()
    assert "1: 1, 2: 1.9, 4: 3, 8: out of memory" in page
    assert json.loads((world / "run/result.json").read_text())["environment"]["batch"] == "best"
