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
from bench.metrics.diversity_share import ShareOfTeacher
from bench.results.entries import read_entry
from bench.run import plan
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


SHARE = SUITE.replace("diversity]", "diversity_share]").replace("[0, 1, 2]", "[0, 1, 2, 3]")


def test_a_share_of_the_teachers_is_of_the_same_repeats(
    repeating: Bench, world: Path, judges: Judges, capsys: pytest.CaptureFixture[str]
) -> None:
    judges.metrics["diversity_share"] = ShareOfTeacher("diversity_share", "patches/1", "patches")
    (world / "tiny.yaml").write_text(f"{SHARE}  teacher: {{steps: [2]}}\n")
    assert repeating("out=run") == 0
    names = ("teacher-2step", "lcm-1step")
    teacher, lcm = (row(world / "run", name)["metrics"]["diversity_share"] for name in names)
    assert (teacher["value"], teacher["kind"]) == (pytest.approx(100), "ratio")
    assert (lcm["n"], lcm["prompts"]) == (32, 8) and lcm["low"] < lcm["value"] < lcm["high"]
    assert lcm["value"] == pytest.approx(100 * lcm["parts"]["own"] / lcm["parts"]["teacher"])
    assert "diversity_share" not in row(world / "run", "real")["metrics"]
    assert "above 100 is not better" in " ".join(capsys.readouterr().out.split())
    assert "Diversity left: above 100 is not better" in (world / "run/report.html").read_text()
    held = json.loads((world / "run/result.json").read_text())
    (compared,) = (c for c in held["comparisons"] if c["metric"] == "diversity_share")
    assert compared["delta"] == pytest.approx(lcm["value"] - 100)


def test_a_share_without_a_teacher_is_one_line(repeating: Bench, world: Path) -> None:
    del repeating
    (world / "tiny.yaml").write_text(SHARE)
    command = cli.read(["suite=tiny.yaml", "cache=cache"])
    with pytest.raises(UsageError, match="needs one row of method teacher"):
        plan.make(command.suite, command.options)
