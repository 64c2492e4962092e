"""A run on a FLUX that is fetched from a hub on this machine, beside files that nobody needs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from diffusers import FluxPipeline
from PIL import Image

from bench.contestants.sampler import generator
from bench.results.keys import Key
from tests.contestants.test_own_pipelines import lora
from tests.real.hub_server import serving
from tests.real.official import files_of
from tests.real.test_fetched_run import bench
from tests.support import families

PROMPTS = ("a red circle", "two blue stars")
LORA = "hyper-8steps.safetensors"
SUITE = f"""
title: Tiny
version: 1
base: hf://them/flux
size: 64
steps: [2]
prompts: {{set: mine.txt, n: 2}}
metrics: {{lpips_teacher: {{weights: alex.pth}}}}
contestants:
  teacher: {{steps: [3], guidance: 3.5}}
  hyper: {{lora: hf://them/lora/{LORA}, lora_scale: 0.125, guidance: 3.5}}
"""
OTHERS = """
extends: ./tiny.yaml
contestants:
  klein: {pipeline: hf://them/video}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with two suites, their prompts and their judge."""
    layers = torchvision.models.alexnet().features.state_dict()
    torch.save({f"features.{name}": value for name, value in layers.items()}, tmp_path / "alex.pth")
    (tmp_path / "mine.txt").write_text("\n".join(PROMPTS) + "\n")
    (tmp_path / "tiny.yaml").write_text(SUITE)
    (tmp_path / "others.yaml").write_text(OTHERS)
    return tmp_path


def test_a_flux_and_its_lora_are_fetched_planned_and_drawn(folder: Path) -> None:
    """No single-file checkpoint is asked for; the plan knows the class before the weights come."""
    base = families.make_flux(folder / "flux")
    file = lora(base, folder / LORA)
    repos = {
        "them/flux": {**files_of(base), "flux1-dev.safetensors": b"large", "README.md": b"-"},
        "them/lora": {LORA: file.read_bytes()},
    }
    with serving(repos) as (address, asked):
        said = bench(folder, address, "task=plan")
        assert "to download from the hub: 2 of 2" in said
        assert "LoRA x 0.125" in said and "guidance 3.5" in said
        assert not any("GET elsewhere" in line for line in asked)  # where large files are
        bench(folder, address, "out=run", "rounds=0")
        assert not any("flux1-dev" in line or "README" in line for line in asked)
        asked.clear()
        said = bench(folder, address, "task=plan")
        assert asked == [] and "0 images to make" in said
    rows = {one["name"]: one for one in json.loads((folder / "run/result.json").read_text())[
        "contestants"]}  # fmt: skip
    assert {name: one["nfe"] for name, one in rows.items()} == {
        "teacher-3step": 3,
        "hyper-2step": 2,
    }
    pipe = FluxPipeline.from_pretrained(base)
    pipe.load_lora_weights(folder, weight_name=LORA)
    pipe.fuse_lora(lora_scale=0.125)
    theirs = pipe(
        list(PROMPTS), num_inference_steps=2, guidance_scale=3.5, height=64, width=64,
        generator=[generator(Key(i, prompt, 0)) for i, prompt in enumerate(PROMPTS)],
        output_type="np",
    ).images  # fmt: skip
    ours = [
        np.asarray(Image.open(path)) for path in sorted(folder.glob("run/images/hyper-2step/*"))
    ]
    assert len(ours) == 2 and np.abs(np.stack(ours) - 255 * theirs).max() < 1


def test_a_class_that_draws_no_picture_is_said_before_its_weights_come(folder: Path) -> None:
    base = families.make_flux(folder / "flux")
    index = json.loads((base / "model_index.json").read_text()) | {"_class_name": "WanPipeline"}
    shutil.copytree(base, folder / "video")
    (folder / "video/model_index.json").write_text(json.dumps(index))
    repos = {name: files_of(folder / name.split("/")[1]) for name in ("them/flux", "them/video")}
    repos["them/lora"] = {LORA: b"x"}
    with serving(repos) as (address, asked):
        said = bench(folder, address, "task=plan", suite="others.yaml")
        assert not any("GET elsewhere" in line for line in asked)
    line = next(one for one in said.splitlines() if one.startswith("missing: "))
    assert "klein: hf://them/video is a WanPipeline, which does not draw a picture of a" in line
