"""Published values as data: what our score of the same pictures is called."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.metrics import Result
from bench.run import known_answers
from bench.run.known_answers import known, said, verdict
from bench.statistics.metrics import METRICS

# As https://github.com/openai/CLIP prints them.
PROBABILITIES = [0.9927937, 0.00421068, 0.00299572]


def test_the_data_are_what_the_publishers_print() -> None:
    held = known()
    assert all(METRICS[name].published is not None for name in held)
    assert all(one.source.startswith("https://github.com/") for one in held.values())
    assert [round(a.value, 2) for a in held["image_reward"].answers] == [0.58, 0.27, -1.41, -2.03]
    ours = [math.log(p / PROBABILITIES[0]) for p in PROBABILITIES]
    assert [a.value for a in held["clip"].answers] == pytest.approx(ours, abs=1e-3)


def test_a_difference_within_the_tolerance_is_as_published() -> None:
    values = [answer.value for answer in known()["image_reward"].answers]
    near = verdict("image_reward", [value + 0.01 for value in values])
    assert near.startswith("image_reward: as published (4 values of https://github.com/THUDM/")
    far = verdict("image_reward", [*values[:3], values[3] + 0.2])
    assert "image_reward: deviates" in far and "-1.830 (-2.030)" in far


def test_of_differences_alone_a_constant_is_nothing() -> None:
    assert "as published" in verdict("clip", [31.0, 31.0 - 5.463, 31.0 - 5.803])
    assert "deviates" in verdict("clip", [31.0, 31.0 - 3.0, 31.0 - 5.803])


class Stand:
    """A metric that answers what was published, less 1."""

    identity, extractor = "stand/1", "stand"

    def evaluate(self, features: np.ndarray, prompts: Any, clusters: Any) -> Result:
        value = float(features[0, 0])
        return Result(value, value, value, 1, np.array([0]), np.array([value]))


def test_the_command_keeps_what_it_finds_for_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    answers = [answer.value for answer in known()["image_reward"].answers]
    for number in range(1, 5):
        picture = np.full((8, 8, 3), number, np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{number}.webp", lossless=True)

    def look(images: np.ndarray, prompts: Any) -> np.ndarray:
        return np.array([[answers[int(images[0, 0, 0, 0]) - 1]]])

    monkeypatch.setattr(known_answers, "metric", lambda name, published: Stand())
    monkeypatch.setattr(known_answers, "extractor", lambda name, device: look)
    before = said({"image_reward": "stand/1", "hps": "hps/1"})
    assert before == ["image_reward: not held against published values yet; "
                      "python -m bench.run.known_answers image_reward"]  # fmt: skip
    assert known_answers.main(["image_reward", f"folder={tmp_path}"]) == 0
    line = capsys.readouterr().out.strip()
    assert line.startswith("image_reward: as published") and line.endswith("at most 0)")
    assert said({"image_reward": "stand/1"}) == [line]
    assert said({"image_reward": "other weights"}) == before
    assert json.loads((tmp_path / "data/known_answers.json").read_text()) == {"stand/1": line}


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert known_answers.main(["hpsv3"]) == 2
    assert "nobody's values are known; valid: clip, image_reward" in capsys.readouterr().err
