"""`torchrun bench.py suite=...` as it is typed, on a small pipeline and a real metric: a process is
killed, another number of them goes on, and the result is that of one process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import open_clip
import psutil
import pytest
import torch
from safetensors.torch import save_file

from tests.support.outcomes import images, metrics, pixels

ROOT = Path(__file__).resolve().parents[3]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
PROMPTS = 200  # two slices of each row
SUITE = f"""
title: Tiny
version: 1
base: BASE
size: 64
steps: [1, 2]
prompts: {{set: prompts.txt, n: {PROMPTS}}}
metrics: {{clip: {{model: local-dir:clip}}}}
contestants:
  teacher: {{steps: [2], guidance: 3}}
  lcm: {{lora: LORA, scheduler: lcm}}
"""
CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
SEEN = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tiny_base: Path, tiny_lora: Path, tmp_path: Path) -> Path:
    """A working directory with tiny.yaml: six slices, and a CLIP with random weights."""
    (tmp_path / "clip").mkdir()
    about = {"model_cfg": CLIP, "preprocess_cfg": SEEN}
    (tmp_path / "clip/open_clip_config.json").write_text(json.dumps(about))
    with torch.random.fork_rng():
        torch.manual_seed(8)
        state = open_clip.CLIP(**CLIP).state_dict()
    save_file(state, tmp_path / "clip/open_clip_model.safetensors")
    words = "".join(f"{number} red circles\n" for number in range(PROMPTS))
    (tmp_path / "prompts.txt").write_text(words)
    suite = SUITE.replace("BASE", str(tiny_base)).replace("LORA", str(tiny_lora))
    (tmp_path / "tiny.yaml").write_text(suite)
    return tmp_path


def start(folder: Path, by: list[str], name: str) -> subprocess.Popen[str]:
    words = ["suite=tiny.yaml", "device=cpu", f"cache=cache_{name}", f"out={name}"]
    names = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(folder / f"{name}.log", "a") as log:
        return subprocess.Popen([*by, str(ROOT / "bench.py"), *words], cwd=folder, env=names,
                                text=True, stdout=log, stderr=log)  # fmt: skip


def torchrun(folder: Path, count: int, name: str) -> int:
    """The exit code of a run by so many processes."""
    return start(folder, [*TORCHRUN, str(count)], name).wait(900)


def entries(folder: Path, name: str) -> dict[Path, int]:
    """The slices in a cache, and when each was written."""
    paths = (folder / f"cache_{name}" / "images").rglob("*.safetensors")
    return {path: path.stat().st_mtime_ns for path in paths}


def worker(agent: subprocess.Popen[str], rank: int) -> psutil.Process | None:
    """The process of a rank."""
    for child in psutil.Process(agent.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.environ().get("RANK") == str(rank):
                return child
    return None


def killed(folder: Path, count: int, rank: int, name: str) -> int:
    """A run of which one process is killed when the first slices are there; its exit code."""
    agent = start(folder, [*TORCHRUN, str(count)], name)
    while agent.poll() is None and len(entries(folder, name)) < 2:
        time.sleep(0.05)
    victim = worker(agent, rank)
    assert victim is not None, (folder / f"{name}.log").read_text()
    victim.kill()
    return agent.wait(900)


@pytest.mark.parametrize(("first", "then"), [(3, 2), (2, 3)])
def test_another_number_of_processes_goes_on(first: int, then: int, folder: Path) -> None:
    """torchrun stops all processes where one dies; the same command goes on from what is there."""
    assert start(folder, [sys.executable], "alone").wait(900) == 0
    assert killed(folder, first, first - 1, "many") != 0
    assert not (folder / "many/result.json").exists()
    there = entries(folder, "many")
    assert 0 < images(folder / "cache_many") < 3 * PROMPTS
    assert torchrun(folder, then, "many") == 0
    after = entries(folder, "many")
    assert {path: after[path] for path in there} == there  # none was made again
    assert pixels(folder / "cache_many") == pixels(folder / "cache_alone")
    assert metrics(folder / "many") == metrics(folder / "alone")
    assert (folder / "many/report.html").is_file()
