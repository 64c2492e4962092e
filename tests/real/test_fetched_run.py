"""A whole run that fetches its base and LoRA first, from a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from tests.real.hub_server import COMMIT, serving

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys
from pathlib import Path
from bench.results import hub
from hypersd.hub_lock import Lock
hub.HUB = hub.Hub(Lock(Path("lock.json").absolute()))
from bench.cli import main
sys.exit(main(["device=cpu", *sys.argv[1:]]))
"""
SUITE = """
title: Tiny
version: 1
base: hf://them/base
size: 64
steps: [1]
prompts: {set: mine.txt, n: 2}
metrics: {lpips_teacher: {weights: alex.pth}}
contestants:
  teacher: {steps: [2], guidance: 3}
  mine: {lora: hf://them/lora/peft.safetensors, scheduler: lcm}
"""


RECIPE = """
extends: sdxl_lcm_lora
base: hf://them/base
base_precision: fp32
precision: fp32
steps: 1
batch: 2
warmup: 0
checkpoint_every: 1
data: {folder: pictures}
options: {rank: 4}
"""


def bench(folder: Path, address: str, *words: str, suite: str = "tiny.yaml") -> str:
    """What a run in a process of its own says, as the hub's client reads its settings once."""
    names = {**os.environ, "HF_HOME": str(folder / "home"), "HF_ENDPOINT": address,
             "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}  # fmt: skip
    command = [sys.executable, "-c", CODE, f"suite={suite}", *words]
    done = subprocess.run(
        command, cwd=folder, env=names, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with tiny.yaml, its prompts and its judge."""
    layers = torchvision.models.alexnet().features.state_dict()
    torch.save({f"features.{name}": value for name, value in layers.items()}, tmp_path / "alex.pth")
    (tmp_path / "mine.txt").write_text("a red circle\ntwo blue stars\n")
    (tmp_path / "tiny.yaml").write_text(SUITE)
    return tmp_path


@pytest.fixture
def base(tiny_sdxl: Path) -> dict[str, bytes]:
    """The base's files, and one that nobody needs."""
    paths = [path for path in tiny_sdxl.rglob("*") if path.is_file()]
    return {"README.md": b"-", **{str(p.relative_to(tiny_sdxl)): p.read_bytes() for p in paths}}


def test_what_is_not_here_is_fetched_recorded_and_drawn(
    base: dict[str, bytes], sdxl_files: Path, folder: Path
) -> None:
    lora = (sdxl_files / "peft.safetensors").read_bytes()
    with serving({"them/base": base, "them/lora": {"peft.safetensors": lora}}) as (address, asked):
        said = bench(folder, address, "out=run")
        for reference in ("hf://them/base", "hf://them/lora/peft.safetensors"):
            assert f"fetching {reference}\n" in said
        assert "to download from the hub: 2 of 2" in said
        assert not any("README.md" in line for line in asked)
        asked.clear()
        assert "2 images to make" not in bench(folder, address, "task=plan")
        assert asked == []
    lock = json.loads((folder / "lock.json").read_text())
    assert lock["them/lora"]["commit"] == lock["them/base"]["commit"] == COMMIT
    held = lock["them/lora"]["files"]["peft.safetensors"]
    assert held == {"sha256": hashlib.sha256(lora).hexdigest(), "size": len(lora)}
    rows = json.loads((folder / "run/result.json").read_text())["contestants"]
    assert rows[1]["licence"] == "mit" and rows[1]["metrics"]["lpips_teacher"]["value"] > 0


def test_a_candidate_is_trained_on_the_base_that_was_fetched(
    base: dict[str, bytes], folder: Path
) -> None:
    """No file is asked for twice, and none that the plan did not name."""
    (folder / "tiny.yaml").write_text(
        SUITE.replace("{lora: hf://them/lora/peft.safetensors,", "{recipe: small.yaml,")
    )
    (folder / "small.yaml").write_text(RECIPE)
    (folder / "pictures").mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64), (90 * number, 30, 60)).save(folder / f"pictures/{number}.png")
        (folder / f"pictures/{number}.txt").write_text("a red circle")
    with serving({"them/base": base}) as (address, asked):
        said = bench(folder, address, "out=run")
    assert "to download from the hub: 1 of 1" in said
    bodies = [line for line in asked if line.startswith("GET them/")]
    assert bodies and len(set(bodies)) == len(bodies)
    lock = json.loads((folder / "lock.json").read_text())["them/base"]
    assert set(lock["files"]) == set(base) - {"README.md"}
    mine = json.loads((folder / "run/result.json").read_text())["contestants"][1]
    assert mine["training"]["images_seen"] == 2
