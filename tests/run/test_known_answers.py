"""Published values as data: what our score of the same pictures is called."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.metrics import Result
from bench.report import banners
from bench.report.runfiles import RunFiles
from bench.results.summary import Summary
from bench.run import known_answers
from bench.run.known_answers import hold, known, of_suite, said, verdict
from bench.statistics.metrics import METRICS
from bench.suite import suite
from bench.suite.suite import Suite

# As https://github.com/openai/CLIP prints them.
PROBABILITIES = [0.9927937, 0.00421068, 0.00299572]


OCEAN = known()["image_reward"][0]
OF_CLIP, OF_CATS = known()["clip"]


def test_the_data_are_what_the_publishers_print() -> None:
    held = known()
    assert all(METRICS[name].published is not None for name in held)
    every = [one for several in held.values() for one in several]
    assert all(one.source.startswith("https://github.com/") for one in every)
    assert [round(a.value, 2) for a in OCEAN.answers] == [0.58, 0.27, -1.41, -2.03]
    ours = [math.log(p / PROBABILITIES[0]) for p in PROBABILITIES]
    assert [a.value for a in OF_CLIP.answers] == pytest.approx(ours, abs=1e-3)
    assert all(len(a.sha256) in (0, 64) for one in every for a in one.answers)


def test_a_difference_within_the_tolerance_is_as_published() -> None:
    values = [answer.value for answer in OCEAN.answers]
    near = verdict("image_reward", OCEAN, [value + 0.01 for value in values])
    assert near.startswith("image_reward: as published (4 values of https://github.com/THUDM/")
    far = verdict("image_reward", OCEAN, [*values[:3], values[3] + 0.2])
    assert "image_reward: deviates" in far and "-1.830 (-2.030)" in far


def test_of_differences_alone_a_constant_is_nothing() -> None:
    assert "as published" in verdict("clip", OF_CLIP, [31.0, 31.0 - 5.463, 31.0 - 5.803])
    assert "deviates" in verdict("clip", OF_CLIP, [31.0, 31.0 - 3.0, 31.0 - 5.803])
    assert "deviates" in verdict("clip", OF_CATS, [25.0, 19.7])


class Stand:
    """A metric that answers what was published."""

    extractor = "stand"

    def __init__(self, identity: str = "stand/1") -> None:
        self.identity = identity

    def evaluate(self, features: np.ndarray, prompts: Any, clusters: Any) -> Result:
        value = float(features[0, 0])
        return Result(value, value, value, 1, np.array([0]), np.array([value]))


def published(*metrics: str, **settings: dict[str, str]) -> Suite:
    values = {"title": "t", "version": 1, "steps": [1], "base": "hf://a/b", "metrics": metrics,
              "prompts": {"set": "own", "n": 2}, "contestants": {"teacher": {}}}  # fmt: skip
    return replace(suite.read("s", values), metric_settings=settings)


@pytest.fixture
def oceans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Pictures that stand for those of ImageReward by name, with a network that knows them."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    values, found = [answer.value for answer in OCEAN.answers], {}
    for number, answer in enumerate(OCEAN.answers, 1):
        picture = np.full((8, 8, 3), number, np.uint8)
        Image.fromarray(picture).save(tmp_path / answer.picture, lossless=True)
        found[answer.picture] = (tmp_path / answer.picture).read_bytes()

    def look(images: np.ndarray, prompts: Any) -> np.ndarray:
        return np.array([[values[int(images[0, 0, 0, 0]) - 1]]])

    hashed = [replace(a, sha256=hashlib.sha256(found[a.picture]).hexdigest())
              for a in OCEAN.answers]  # fmt: skip
    own = replace(OCEAN, answers=tuple(hashed))
    monkeypatch.setattr(known_answers, "known", lambda: {**known(), "image_reward": (own,)})
    monkeypatch.setattr(known_answers, "metric", lambda *words, published: Stand())
    monkeypatch.setattr(known_answers, "metric_of", lambda *words: Stand())
    monkeypatch.setattr(known_answers, "extractor", lambda name, device: look)
    return found


def test_the_command_keeps_what_it_finds_for_the_ledger(
    oceans: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = published("image_reward", "hps")
    before = said(asked, {"image_reward": "stand/1", "hps": "hps/1"})
    assert before == ["image_reward: not held against published values yet; "
                      "python -m bench.run.known_answers image_reward"]  # fmt: skip
    assert known_answers.main(["image_reward", f"folder={tmp_path}"]) == 0
    line = capsys.readouterr().out.strip()
    assert line.startswith("image_reward: as published") and line.endswith("at most 0)")
    assert said(asked, {"image_reward": "stand/1"}) == [line]
    assert said(asked, {"image_reward": "other weights"}) == before
    kept = json.loads((tmp_path / "data/known_answers.json").read_text())
    assert kept == {f"stand/1 by {OCEAN.source}": line}


def test_a_run_fetches_the_pictures_once_and_says_what_came_out(
    oceans: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = list[str]()

    def read_address(url: str) -> bytes:
        fetched.append(url)
        return oceans[url.rpartition("/")[2]]

    monkeypatch.setattr(known_answers.hub_client, "read_address", read_address)
    asked, identities = published("image_reward"), {"image_reward": "stand/1"}
    (line,) = hold(asked, identities, "cpu")
    assert line.startswith("image_reward: as published (4 values")
    assert fetched == [f"{OCEAN.pictures}/{a.picture}" for a in OCEAN.answers]
    assert list(hold(asked, identities, "cpu")) == [] and len(fetched) == 4
    found = Summary("s", "", {}, {}, [], ledger={"known_answers": said(asked, identities)})
    (banner,) = banners.banners(found, RunFiles(Path(), {}, {}))
    assert banner.heading == "As published." and banner.text.startswith("ImageReward")
    assert not banner.is_warning


def test_without_a_network_or_with_other_files_the_run_goes_on(
    oceans: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, identities = published("image_reward"), {"image_reward": "stand/1"}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (line,) = hold(asked, identities, "cpu")
    assert "not held against published values (https://raw" in line and "OFFLINE is set" in line
    monkeypatch.setattr(known_answers.hub_client, "read_address", lambda url: b"other")
    (line,) = hold(asked, identities, "cpu")
    assert "1.webp: is another file than was published" in line
    assert "not held against published values yet" in said(asked, identities)[0]


def test_values_of_other_settings_are_not_a_metrics() -> None:
    assert [e.settings for _, e in of_suite(published("hps"))] == []
    of_v2 = published("hps", hps={"version": "v2.0", "precision": "fp16"})
    assert [e.settings for _, e in of_suite(of_v2)] == [{"version": "v2.0"}]
    assert list(of_suite(published("clip", clip={"model": "ViT-g-14"}))) == []
    assert len(list(of_suite(published("clip")))) == 2


def test_what_deviates_is_above_the_findings() -> None:
    lines = ["clip: as published (2 values)", "clip: deviates (3 values, more than 0.3): 1 (2)"]
    found = Summary("s", "", {}, {}, [], ledger={"known_answers": lines})
    (banner,) = banners.banners(found, RunFiles(Path(), {}, {}))
    assert (banner.heading, banner.lines, banner.is_warning) == ("Deviates.", lines[1:], True)


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert known_answers.main(["hpsv3"]) == 2
    said = capsys.readouterr().err
    assert "no published values are known" in said and "valid: clip, hps, image_reward" in said
