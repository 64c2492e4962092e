"""A small world for the harness: tiny random models, cheap judges, a suite of few images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bench.cli import main
from bench.metrics.base import Features
from bench.statistics.result import Result, mean_result

SUITE = """
title: Tiny
version: 1
steps: [1, 2]
prompts: {set: shapes/test, n: 30}
metrics: [fid, clip]
contestants:
  lcm: {lora: shapes/lcm}
  real: {}
"""


@dataclass(frozen=True)
class Patches:
    """A 4x4 thumbnail as features; counts the images that it saw."""

    name: str = "patches"
    identity: str = "patches/1"
    partial: bool = False
    seen: ClassVar[list[int]] = []

    def __call__(self, images: Any, prompts: Sequence[str]) -> Features:
        assert len(images) == len(prompts)
        Patches.seen.append(len(images))
        small = np.asarray(images, np.float32).reshape(len(images), 4, 16, 4, 16, 3)
        return small.mean(axis=(2, 4)).reshape(len(images), -1) / 255


@dataclass(frozen=True)
class Brightness:
    """The mean of the features: a metric without a network."""

    name: str
    extractor: str = "patches"
    higher_is_better: bool = True
    identity: str = "brightness/1"

    def trained_on(self, method: str) -> str:
        return "no"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        return mean_result(features.mean(axis=1).astype(np.float64), clusters)


@pytest.fixture
def world(
    tiny_base: Path, tiny_lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty folder as the working directory, where `shapes/...` are tiny and judges cheap."""
    places = {"shapes/base": tiny_base, "shapes/lcm": tiny_lora}

    def weights_path(name: str) -> Path:
        return places.get(name, Path(name))

    monkeypatch.setattr("bench.contestants.files.weights_path", weights_path)
    monkeypatch.setattr("bench.metrics.metric", lambda name, settings, published: Brightness(name))
    monkeypatch.setattr("bench.metrics.extractor", lambda name, device: Patches())
    monkeypatch.setattr("bench.results.keys.SLICE", 20)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SUITE)
    return tmp_path


@pytest.fixture
def brightness() -> type[Brightness]:
    """The cheap metric, for suites that have another one beside it."""
    return Brightness


@pytest.fixture
def seen() -> list[int]:
    """How many images each call of an extractor saw."""
    Patches.seen.clear()
    return Patches.seen


@pytest.fixture
def bench(world: Path) -> Callable[..., int]:
    """Calls the command line in this process, with the tiny suite unless another is named."""

    def call(*words: str) -> int:
        named = any(word.startswith(("suite=", "run=")) for word in words)
        return main([*(() if named else ("suite=tiny.yaml",)), *words])

    return call
