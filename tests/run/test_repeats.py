"""Diversity of a suite's `repeats`: a few prompts drawn with further seeds, on tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import cli
from bench.errors import UsageError
from bench.metrics.diversity import Diversity
from bench.results.entries import read_entry
from tests.support.judges import Judges

Bench = Callable[..., int]
SUITE = """
title: Tiny
version: 1
steps: [1]
prompts: {set: shapes/test, n: 30}
metrics: [clip, diversity]
repeats: {n: 8, seeds: [0, 1, 2]}
contestants:
  lcm: {lora: shapes/lcm}
  real: {}
"""


@pytest.fixture
def repeating(bench: Bench, world: Path, judges: Judges) -> Bench:
    judges.metrics["diversity"] = Diversity("patches/1", "patches")
    (world / "tiny.yaml").write_text(SUITE)
    return bench


def row(folder: Path, name: str) -> dict[str, Any]:
    held = json.loads((folder / "result.json").read_text())
    found: dict[str, Any] = next(c for c in held["contestants"] if c["name"] == name)
    return found


def test_diversity_is_of_the_repeats_and_all_else_of_the_scored_images(
    repeating: Bench, world: Path, seen: list[int]
) -> None:
    assert repeating("out=run") == 0
    lcm, real = row(world / "run", "lcm-1step"), row(world / "run", "real")
    assert (lcm["n"], lcm["seeds"], lcm["metrics"]["clip"]["n"]) == (30, [0], 30)
    diversity = lcm["metrics"]["diversity"]
    assert (diversity["n"], diversity["prompts"]) == (24, 8)
    assert "the first 8 prompts, seeds 0,1,2" in diversity["identity"]
    assert set(real["metrics"]) == {"clip"}, "the same picture with every seed is no diversity"
    assert sum(seen) == 30 + 16 + 30
    kept = read_entry(world / "run/scores/lcm-1step.safetensors").arrays
    assert kept["diversity.prompts"].tolist() == list(range(8))


def test_its_value_is_that_of_a_run_with_all_seeds(repeating: Bench, world: Path) -> None:
    assert repeating("out=run") == 0
    assert repeating("out=all", "repeats=null", "seeds=[0,1,2]", "prompts.n=8") == 0
    one, other = (row(world / name, "lcm-1step") for name in ("run", "all"))
    values = [found["metrics"]["diversity"]["value"] for found in (one, other)]
    assert values[0] == pytest.approx(values[1], rel=0.02)  # other batches round otherwise


def test_a_limit_leaves_the_slices_as_they_are(
    repeating: Bench, world: Path, seen: list[int]
) -> None:
    assert repeating("out=run") == 0
    seen.clear()
    assert repeating("out=part", "limit=5") == 0
    assert seen == []
    found = row(world / "part", "lcm-1step")["metrics"]
    assert (found["diversity"]["n"], found["clip"]["n"]) == (15, 5)


def test_repeats_without_the_metric_are_not_drawn(
    repeating: Bench, world: Path, seen: list[int]
) -> None:
    assert repeating("out=run", "metrics=[clip]") == 0
    assert sum(seen) == 60


@pytest.mark.parametrize(
    ("word", "said"),
    [("repeats.seeds=[3]", "two seeds or more"), ("repeats.n=0", "a whole number from 1"),
     ("+repeats.prompts=4", "unknown key 'prompts' in repeats")],
)  # fmt: skip
def test_a_faulty_repeats_is_one_line(repeating: Bench, word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        cli.read(["suite=tiny.yaml", word])
