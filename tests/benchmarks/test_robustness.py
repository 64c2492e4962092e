"""`benchmarks.robustness`: its disturbances are what they are called, and it tells them apart."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def robustness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import robustness

    return robustness


def scenes(module: Any, n: int) -> tuple[list[Any], Any]:
    """Scenes, and how they are shown."""
    found = [module.sample_scene("validation", i) for i in range(n)]
    images = np.stack([module.render(s) for s in found])
    return found, module.Shown(images, [module.captions.caption(s) for s in found])


def test_hues_turn_by_a_third_of_the_circle(robustness: Any) -> None:
    """Red, green and blue in turn; greys stay."""
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90)], np.uint8)
    found = robustness.turned(colours[None, None])[0, 0]
    np.testing.assert_allclose(found, colours[[1, 2, 0, 3]], atol=3)


def test_noise_has_its_deviation(robustness: Any) -> None:
    found = robustness.noised(np.full((4, 64, 64, 3), 128, np.uint8), 15)
    assert found.std() == pytest.approx(15, rel=0.02)


def test_a_changed_caption_says_one_value_otherwise(robustness: Any) -> None:
    found, shown = scenes(robustness, 40)
    told = robustness.disturbances(found)["one value of the caption changed"](shown)
    for scene, prompt in zip(found, told.prompts, strict=True):
        said = robustness.captions.parse(prompt)
        assert any(said in robustness.captions.variants(scene.spec, name)
                   for name in robustness.ATTRIBUTES)  # fmt: skip
    assert (told.images == shown.images).all()


def test_only_other_captions_have_a_span(robustness: Any) -> None:
    found = {"real": {"clip": 80.0, "fid": 3.0}, "others": {"clip": 30.0, "fid": 3.0},
             "noise": {"clip": 55.0, "fid": 4.5}}  # fmt: skip
    lines = robustness.table(found).splitlines()
    assert lines[2:] == ["| real | 80 | 3 |", "| others | -50 (100 %) | 0 |",
                         "| noise | -25 (50 %) | +1.5 |"]  # fmt: skip


def test_every_disturbance_is_measured(
    robustness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A wrong value is seen by the oracle, grain is not; repeated pictures have no diversity."""
    monkeypatch.chdir(tmp_path)
    robustness.main(["n=100", "metrics=faithful,diversity,perceptual_teacher"])
    found = json.loads((tmp_path / "runs/benchmarks/robustness.json").read_text())["values"]
    assert len(found) == 13 and "| real | 1 |" in capsys.readouterr().out
    assert found["one value of the caption changed"]["faithful"] == 0
    assert found["noise of 8/255"]["faithful"] > 0.95
    assert found["50 pictures, repeated"]["diversity"] == pytest.approx(0, abs=1e-6)
    assert found["real"]["perceptual_teacher"] == 0 < found["mirrored"]["perceptual_teacher"]
