"""A small world for whole runs: tiny random models, cheap judges, a suite of few images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.judges import Judges, Patches

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


@pytest.fixture
def judges(monkeypatch: pytest.MonkeyPatch) -> Judges:
    """The judges of this test's runs; it may put others in."""
    found = Judges()
    found.install(monkeypatch.setattr)
    return found


@pytest.fixture
def seen(judges: Judges) -> list[int]:
    """How many images each call of the extractor saw."""
    assert isinstance(judges.extractor, Patches)
    return judges.extractor.seen


@pytest.fixture
def world(
    judges: Judges,
    tiny_base: Path,
    tiny_lora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """An empty folder as the working directory, where `shapes/...` are tiny and judges cheap;
    slices of 20, and nothing is timed in turns unless `rounds=` asks for it."""
    places = {"shapes/base": tiny_base, "shapes/lcm": tiny_lora}
    monkeypatch.setattr(
        "bench.contestants.files.weights_path", lambda name: places.get(name, Path(name))
    )
    monkeypatch.setattr("bench.results.keys.SLICE", 20)
    monkeypatch.setattr("bench.run.timing_plan.ROUNDS", 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SUITE)
    return tmp_path


@pytest.fixture
def bench(world: Path) -> Callable[..., int]:
    """Calls the command line in this process, with the tiny suite unless another is named."""
    from bench.cli import main

    def call(*words: str) -> int:
        named = any(word.startswith(("suite=", "run=")) for word in words)
        return main([*(() if named else ("suite=tiny.yaml",)), *words])

    return call
