"""The tiny suite, run by several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main


@pytest.fixture
def world(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with tiny.yaml: three rows of four slices each."""
    monkeypatch.setattr("bench.results.keys.SLICE", 8)
    monkeypatch.setattr("bench.report.write.write", lambda *_: None)  # result.json is all
    return world


def _one_of(rank: int, count: int, words: Sequence[str], said: Path, inside: Any) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    if inside is not None:
        inside(rank)
    with (
        open(f"{said}.out", "w") as out,
        open(f"{said}.err", "w") as err,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = main(["suite=tiny.yaml", *words])
    os._exit(code)


@pytest.fixture
def together(world: Path) -> Callable[..., list[int | None]]:
    """Runs the tiny suite in so many processes at once; their exit codes.

    Forked, so that each need not import torch again.
    inside: called with its rank in each of them first.  `said.RANK.out|err` holds what each said.
    """

    def run(count: int, *words: str, inside: Callable[[int], None] | None = None) -> Any:
        fork = multiprocessing.get_context("fork")
        started = [
            fork.Process(target=_one_of, args=(rank, count, words, world / f"said.{rank}", inside))
            for rank in range(count)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join(60)
        return [process.exitcode for process in started]

    return run
