"""`sdxl_candidate`: a recipe of SDXL is trained first, on a small pipeline of the real classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from hypersd import recipe

HUB = ("tcd", "lightning", "lightning_lora", "hyper_sd", "hyper_sd_unified", "turbo", "dmd2",
       "dmd2_lora", "pcm")  # fmt: skip


@pytest.fixture
def words(tiny_sdxl: Path, sdxl_files: Path, judged: Path) -> list[str]:
    """The suite on files of this machine; `small.yaml` is its recipe, cut to two steps."""
    (judged / "prompts.txt").write_text("a red circle\ntwo blue stars\na green ring\n")
    (judged / "small.yaml").write_text(f"""
extends: sdxl_lcm_lora
base: {tiny_sdxl}
base_precision: fp32
precision: fp32
steps: 2
batch: 2
warmup: 0
checkpoint_every: 2
data: {{folder: pictures}}
options: {{rank: 4}}
""")
    return ["suite=sdxl_candidate", f"base={tiny_sdxl}", "size=64", "precision=fp32",
            "prompts.set=prompts.txt", "prompts.n=3", "metrics=[clip]", "device=cpu", "out=run",
            f"contestants.lcm.lora={sdxl_files}/peft.safetensors",
            *(f"~contestants.{key}" for key in HUB),
            "contestants.candidate.recipe=small.yaml"]  # fmt: skip


def pictures(folder: Path) -> None:
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    for number, picture in enumerate(noise):
        Image.fromarray(picture).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a red circle")


def test_it_names_a_recipe_that_is_shipped(tmp_path: Path, capsys: Any) -> None:
    from bench import cli

    found = cli.read(["suite=sdxl_candidate"]).suite
    assert found is not None
    candidate = found.contestants[-1]
    assert recipe.load(candidate.weights).base == candidate.base
    assert candidate.sampling == next(c for c in found.contestants if c.key == "lcm").sampling


def test_it_is_trained_then_drawn_and_trained_once(words: list[str], tmp_path: Path) -> None:
    pictures(tmp_path / "pictures")
    assert main(words) == 0
    found = json.loads((tmp_path / "run/result.json").read_text())
    candidate = found["contestants"][-1]
    assert candidate["name"] == "candidate-4step" and candidate["training"]["images_seen"] == 4
    again = [word for word in words if word != "out=run"]
    assert main([*again, "out=again", "seeds=[1]"]) == 0
    assert json.loads((tmp_path / "again/result.json").read_text())["seconds"]["train"] < 1


def test_pictures_that_are_not_there_are_missed_before_anything_starts(
    words: list[str], capsys: Any
) -> None:
    assert main([*words, "task=plan"]) == 0
    assert "contestants.candidate.recipe=small.yaml: recipe, data" in capsys.readouterr().out
    assert main(words) == 2
