"""The check on pictures that models drew: tiny random ones, from suite to exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.metrics.base import Features
from bench.metrics.frechet import FrechetDistance
from bench.metrics.references import ReferenceStatistics
from bench.results.entries import read_entry
from bench.statistics.result import Result, mean_result
from tests.support.judges import Judges, Patches

N = 40
SUITE = """
title: Tiny
version: 1
steps: [2]
prompts: {set: shapes/test, n: 40}
metrics: [fid_teacher, clip, hps]
contestants:
  lcm: {lora: shapes/lcm, lora_scale: 10}
margins: {fid_teacher: 0.001, clip: 1.0, hps: 0.3}
limits: {seconds: null, memory: null}
"""


@cache
def renders() -> np.ndarray:
    from bench.contestants.source import renders as drawn

    return drawn("test", range(N))


def patches(images: np.ndarray) -> Features:
    """2 x 2 mean colours of every picture: [B, 12]."""
    return Patches(2)(images, [""] * len(images))


@dataclass(frozen=True)
class Likeness:
    """100 less 100 times the distance to a picture of the same prompt.

    pictures: [N, 12] features of these: for `clip` the prompt's own scene, rendered; for `hps` what
    the undamaged model draws from the same prompt and seed.
    """

    name: str
    pictures: np.ndarray
    extractor: str = "patches"
    higher_is_better: bool = True

    @property
    def identity(self) -> str:
        return f"{self.name}/1;likeness"

    def trained_on(self, method: str) -> str:
        return "no"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        away = np.linalg.norm(features - self.pictures[np.asarray(clusters)], axis=1)
        return mean_result(100 - 100 * away.astype(np.float64), clusters)


@dataclass(frozen=True)
class Distance(FrechetDistance):
    """Distance to pictures of the undamaged model."""

    name: Any = "fid_teacher"
    extractor: Any = "patches"


@pytest.fixture
def tiny(world: Path, judges: Judges, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """(name, *words) -> folder of a run, judged against what the undamaged model draws."""
    monkeypatch.setattr("bench.results.keys.SLICE", N)
    monkeypatch.setattr("bench.report.write.write", lambda *_: None)  # a check reads no report
    (world / "tiny.yaml").write_text(SUITE)
    judges.extractor = Patches(2)

    def judge_by(pictures: np.ndarray) -> None:
        reference = ReferenceStatistics.of(pictures, name="teacher", extractor="patches/1")
        judges.metrics |= {"fid_teacher": Distance(reference), "hps": Likeness("hps", pictures)}

    judges.metrics["clip"] = Likeness("clip", patches(renders()))
    judge_by(patches(renders()))

    def run(name: str, *words: str) -> Path:
        assert main(["suite=tiny.yaml", f"out={name}", *words]) == 0
        return world / name

    drawn = run("teacher") / "features/lcm-2step.safetensors"
    judge_by(read_entry(drawn).arrays["patches"])
    return run


def checked(run: Path, baseline: Path) -> int:
    return main(["task=check", f"run={run}", f"baseline={baseline}"])


def outcomes(run: Path) -> dict[str, str]:
    rows = json.loads((run / "check/check.json").read_text())["verdicts"]
    return {row["subject"]: row["outcome"] for row in rows}


def test_what_damages_is_caught_and_what_does_not_passes(
    tiny: Callable[..., Path], tiny_lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.numpy import load_file, save_file

    base = tmp_path / "baselines/main"
    whole = tiny("whole")
    assert main(["task=check", f"run={whole}", f"baseline={base}", "update=true"]) == 0

    assert checked(tiny("batch", "batch=7", "cache=other"), base) == 0

    weights = load_file(tiny_lora / "pytorch_lora_weights.safetensors")
    damaged = {name: np.float32(0.9) * w for name, w in weights.items()}
    save_file(damaged, tmp_path / "damaged.safetensors")
    capsys.readouterr()
    run = tiny("damaged", "contestants.lcm.lora=damaged.safetensors")
    code = checked(run, base)
    said = capsys.readouterr().out
    assert code == 1, said
    assert outcomes(run)["hps"] == "regress"
    assert "changed  lcm-2step: weights lora" in said

    a_little = {name: np.float32(0.9999) * w for name, w in weights.items()}
    save_file(a_little, tmp_path / "a_little.safetensors")
    run = tiny("a_little", "contestants.lcm.lora=a_little.safetensors")
    assert checked(run, base) == 0, capsys.readouterr().out

    run = tiny("schedule", "contestants.lcm.prediction_type=v_prediction")
    assert checked(run, base) == 1
    assert "sampling.prediction_type None -> v_prediction" in capsys.readouterr().out


def test_captions_given_to_the_wrong_images_are_caught(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    def folder(name: str, order: Sequence[int]) -> Path:
        (tmp_path / name / "theirs").mkdir(parents=True)
        for index, whose in enumerate(order):
            picture = Image.fromarray(renders()[whose])
            picture.save(tmp_path / name / f"theirs/{index:05d}.png")
        return tmp_path / name / "theirs"

    words = ("~contestants.lcm", "+contestants.real={}")
    base = tiny("right", *words, f"images={folder('a', range(N))}")
    run = tiny("wrong", *words, f"images={folder('b', [*range(1, N), 0])}")
    assert checked(run, base) == 1
    assert outcomes(run)["clip"] == "regress"
    rows = json.loads((run / "check/check.json").read_text())["verdicts"]
    assert {row["contestant"] for row in rows if row["outcome"] == "regress"} == {"theirs"}


def test_another_order_of_the_prompts_passes(tiny: Callable[..., Path], tmp_path: Path) -> None:
    from bench.suite.prompts import load

    texts = load("shapes/test", 24, tmp_path).texts
    (tmp_path / "forth.txt").write_text("\n".join(texts) + "\n")
    (tmp_path / "back.txt").write_text("\n".join(reversed(texts)) + "\n")
    words = ("prompts.n=24", "metrics=[fid_teacher]")
    base = tiny("forth", "prompts.set=forth.txt", *words)
    run = tiny("back", "prompts.set=back.txt", *words, "cache=other")
    assert checked(run, base) == 0
    assert outcomes(run) == {"fid_teacher": "pass"}
