"""A whole run that fetches its base and LoRA first, from a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
import torchvision
from hub_server import COMMIT, serving

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys
from pathlib import Path
from bench import hub_lock
from bench.cli import main
hub_lock.PATH = Path("lock.json").absolute()
sys.exit(main(["suite=tiny.yaml", "device=cpu", *sys.argv[1:]]))
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


def bench(folder: Path, address: str, *words: str) -> str:
    """What a run in a process of its own says, as the hub's client reads its settings once."""
    names = {**os.environ, "HF_HOME": str(folder / "home"), "HF_ENDPOINT": address,
             "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", CODE, *words], cwd=folder, env=names, check=False,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_not_here_is_fetched_recorded_and_drawn(
    tiny_sdxl: Path, sdxl_files: Path, tmp_path: Path
) -> None:
    layers = torchvision.models.alexnet().features.state_dict()
    torch.save({f"features.{name}": value for name, value in layers.items()}, tmp_path / "alex.pth")
    (tmp_path / "mine.txt").write_text("a red circle\ntwo blue stars\n")
    (tmp_path / "tiny.yaml").write_text(SUITE)
    lora = (sdxl_files / "peft.safetensors").read_bytes()
    base = {str(path.relative_to(tiny_sdxl)): path.read_bytes()
            for path in tiny_sdxl.rglob("*") if path.is_file()}  # fmt: skip
    repos = {"them/base": {**base, "README.md": b"-"}, "them/lora": {"peft.safetensors": lora}}
    with serving(repos) as (address, asked):
        said = bench(tmp_path, address, "out=run")
        for reference in ("hf://them/base", "hf://them/lora/peft.safetensors"):
            assert f"fetching {reference}\n" in said
        assert "to download from the hub: 2 of 2" in said
        assert not any("README.md" in line for line in asked)
        asked.clear()
        assert "2 images to make" not in bench(tmp_path, address, "task=plan")
        assert asked == []
    lock = json.loads((tmp_path / "lock.json").read_text())
    assert lock["them/lora"]["commit"] == lock["them/base"]["commit"] == COMMIT
    held = lock["them/lora"]["files"]["peft.safetensors"]
    assert held == {"sha256": hashlib.sha256(lora).hexdigest(), "size": len(lora)}
    rows = json.loads((tmp_path / "run/result.json").read_text())["contestants"]
    assert rows[1]["licence"] == "mit" and rows[1]["metrics"]["lpips_teacher"]["value"] > 0
