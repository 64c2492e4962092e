"""One run by several processes: nothing twice, nothing lost, and bit for bit what one makes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.errors import UsageError
from bench.run import processes, rows, worker
from tests.support.outcomes import images, metrics, pixels

Together = Callable[..., list[int | None]]


@pytest.fixture
def alone(world: Path) -> Path:
    """The run of one process, in `alone` with a cache of its own."""
    assert main(["suite=tiny.yaml", "cache=cache_alone", "out=alone"]) == 0
    return world


def drawn(by: Path) -> Callable[[int], None]:
    """Has each process write down the slices' parts that it draws."""

    def note(rank: int) -> None:
        draw = worker.draw_batch

        def noted(source: Any, keys: Any) -> Any:
            with open(by / f"drawn.{rank}", "a") as file:
                file.write(f"{len(keys)}\n")
            return draw(source, keys)

        worker.draw_batch = noted

    return note


@pytest.mark.parametrize("count", [2, 3])
def test_it_is_the_run_of_one(count: int, alone: Path, together: Together) -> None:
    assert together(count, "cache=shared", "out=run", inside=drawn(alone)) == [0] * count
    assert pixels(alone / "shared") == pixels(alone / "cache_alone")
    assert metrics(alone / "run") == metrics(alone / "alone")
    parts = [[int(line) for line in path.read_text().split()] for path in alone.glob("drawn.*")]
    assert len(parts) == count and sum(map(sum, parts)) == 90  # all had a part, none twice
    found = json.loads((alone / "run/result.json").read_text())
    assert found["environment"]["processes"] == count
    assert "90 images to make" in (alone / "said.0.out").read_text()
    for rank in range(1, count):
        assert not (alone / f"said.{rank}.out").read_text()
        assert not (alone / f"said.{rank}.err").read_text()


def test_each_process_writes_the_pictures_that_it_draws(alone: Path, together: Together) -> None:
    def writes(rank: int) -> None:
        write = rows.write_images

        def noted(out: Path, name: str, shown: Any) -> list[str]:
            with open(alone / f"wrote.{rank}", "a") as file:
                file.write(f"{len(shown)}\n")
            return write(out, name, shown)

        rows.write_images = noted

    assert together(2, "cache=shared", "out=run", inside=writes) == [0, 0]
    assert sum(map(int, (alone / "wrote.1").read_text().split())) > 0
    assert pictures(alone / "run") == pictures(alone / "alone")


@pytest.mark.parametrize("mode", ["shown", "none"])
def test_pictures_that_are_not_kept_are_drawn_once(
    mode: str, alone: Path, together: Together
) -> None:
    words = ("cache=shared", "out=run", f"pictures={mode}")
    assert together(2, *words, inside=drawn(alone)) == [0, 0]
    parts = [[int(line) for line in path.read_text().split()] for path in alone.glob("drawn.*")]
    assert len(parts) == 2 and sum(map(sum, parts)) == 90
    assert metrics(alone / "run") == metrics(alone / "alone")
    assert (
        images(alone / "shared") == len(pictures(alone / "run")) == {"shown": 24, "none": 0}[mode]
    )


def pictures(run: Path) -> dict[str, bytes]:
    """The bytes of each picture file of a run folder."""
    files = (run / "images").rglob("*.png")
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def test_a_process_that_is_killed_is_stood_in_for(alone: Path, together: Together) -> None:
    """While it draws its second slice, whose lock it holds."""

    def dies(rank: int) -> None:
        draw, calls = worker.draw_batch, []

        def killed(source: Any, keys: Any) -> Any:
            calls.append(keys)
            if rank == 1 and len(calls) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return draw(source, keys)

        worker.draw_batch = killed

    assert together(2, "cache=shared", "out=run", inside=dies) == [0, -signal.SIGKILL]
    assert pixels(alone / "shared") == pixels(alone / "cache_alone")
    assert metrics(alone / "run") == metrics(alone / "alone")


def test_three_go_on_where_two_were_killed(alone: Path, together: Together) -> None:
    """What they had finished is not made again; the first of all writes the result."""

    def dies(rank: int) -> None:
        draw, calls = worker.draw_batch, []

        def killed(source: Any, keys: Any) -> Any:
            calls.append(keys)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return draw(source, keys)

        worker.draw_batch = killed

    assert together(2, "cache=shared", "out=run", inside=dies) == [-signal.SIGKILL] * 2
    assert not (alone / "run/result.json").exists()
    finished = images(alone / "shared")
    assert 0 < finished < 90
    assert together(3, "cache=shared", "out=run", inside=drawn(alone)) == [0] * 3
    lines = [line for path in alone.glob("drawn.*") for line in path.read_text().split()]
    assert sum(map(int, lines)) == 90 - finished
    assert pixels(alone / "shared") == pixels(alone / "cache_alone")
    assert metrics(alone / "run") == metrics(alone / "alone")


def test_what_is_wrong_is_said_by_each_that_met_it(world: Path, together: Together) -> None:
    assert together(2, "contestants.lcm.lora=none.safetensors") == [2, 2]
    said = [(world / f"said.{rank}.err").read_text() for rank in (0, 1)]
    assert said[0].startswith("error: contestants.lcm.lora=none.safetensors: no such file")
    assert said[1] == said[0].replace("error: ", "error: rank 1: ")


@pytest.mark.parametrize("place", ["2 2", "one 2", "-1 2"])
def test_a_place_that_cannot_be(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(("RANK", "WORLD_SIZE"), place.split(), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="RANK="):
        processes.here()


def test_a_training_does_not_see_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(processes.NAMES, "132", strict=True):
        monkeypatch.setenv(name, value)
    assert processes.here() == processes.Process(1, 3, 2)
    with processes.as_the_only_one():
        assert processes.here() == processes.Process()
    assert processes.here() == processes.Process(1, 3, 2)
