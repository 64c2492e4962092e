"""A benchmark that several processes can run: tiny random models, a judge without a network."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli import main
from bench.results.entries import read_entry
from bench.statistics.result import mean_result

SUITE = """
title: Tiny
version: 1
steps: [1, 2]
prompts: {set: shapes/test, n: 30}
metrics: [clip]
contestants:
  lcm: {lora: shapes/lcm}
  real: {}
"""


class Brightness:
    """Tower and metric in one."""

    name = extractor = identity = "brightness"
    higher_is_better = True
    partial = False

    def __call__(self, images: Any, prompts: Sequence[str]) -> Any:
        return images.reshape(len(images), -1).mean(axis=1, keepdims=True).astype(np.float32)

    def trained_on(self, method: str) -> str:
        return "no"

    def evaluate(self, features: Any, prompts: Sequence[str], clusters: Sequence[int]) -> Any:
        return mean_result(features[:, 0].astype(np.float64), clusters)


@pytest.fixture
def world(
    tiny_base: Path, tiny_lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The working directory, with tiny.yaml: three rows of four slices each."""
    places = {"shapes/base": tiny_base, "shapes/lcm": tiny_lora}
    monkeypatch.setattr(
        "bench.contestants.files.weights_path", lambda name: places.get(name, Path(name))
    )
    monkeypatch.setattr("bench.metrics.metric", lambda name, settings, published: Brightness())
    monkeypatch.setattr("bench.metrics.extractor", lambda name, device: Brightness())
    monkeypatch.setattr("bench.results.keys.SLICE", 8)
    monkeypatch.setattr(
        "bench.report.write.write", lambda *_: None
    )  # no report: result.json is all
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SUITE)
    return tmp_path


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


def pixels(cache: Path) -> dict[str, str]:
    """Hash of the images of every slice in a cache."""
    paths = sorted((cache / "images").rglob("*.safetensors"))
    return {p.stem: hashlib.sha256(read_entry(p).arrays["images"].tobytes()).hexdigest()
            for p in paths}  # fmt: skip


def images(cache: Path) -> int:
    """How many a cache holds."""
    paths = (cache / "images").rglob("*.safetensors")
    return sum(len(read_entry(path).arrays["images"]) for path in paths)


def metrics(folder: Path) -> list[Any]:
    """All that a run says of its contestants but for their speed, memory and batches."""
    found = json.loads((folder / "result.json").read_text())
    told = [(c["name"], c["identity"], c["n"], c["metrics"]) for c in found["contestants"]]
    return [*told, found["protocol"], found["comparisons"]]
