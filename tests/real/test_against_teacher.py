"""`lpips_teacher` in whole runs: each image against the teacher's of the same prompt and seed."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchmetrics.functional.image.lpips import _LPIPS

from bench import cli
from bench.cli import main
from bench.contestants import pipelines
from bench.contestants.sampler import Sampler
from bench.results.keys import Key
from tests.support.outcomes import images


@pytest.fixture
def folder(
    tiny_sdxl: Path, sdxl_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A teacher of two steps, its twin (a LoRA of scale 0), a LoRA, one of half the size."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.results.keys.SLICE", 2)
    with torch.random.fork_rng():
        torch.manual_seed(8)
        layers = torchvision.models.alexnet().features.state_dict()
    torch.save({f"features.{name}": value for name, value in layers.items()}, "alex.pth")
    (tmp_path / "mine.txt").write_text("a red circle\ntwo blue stars\na green ring\n")
    (tmp_path / "tiny.yaml").write_text(f"""
title: Tiny
version: 1
base: {tiny_sdxl}
size: 64
steps: [2]
prompts: {{set: mine.txt, n: 3}}
metrics: {{lpips_teacher: {{weights: alex.pth}}}}
contestants:
  mine: {{lora: {sdxl_files}/peft.safetensors, scheduler: lcm}}
  small: {{size: 32}}
  twin: {{lora: {sdxl_files}/peft.safetensors, lora_scale: 0, guidance: 5,
    scheduler: base}}
  teacher: {{guidance: 5}}
""")
    return tmp_path


def pictures(run: Path, row: str) -> torch.Tensor:
    """[3, 3, 64, 64] in [-1, 1]."""
    found = [np.asarray(Image.open(run / "images" / row / f"{i:05d}.png")) for i in range(3)]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2) / 127.5 - 1


def distances(run: Path) -> dict[str, Any]:
    found = json.loads((run / "result.json").read_text())["contestants"]
    return {c["name"]: c["metrics"].get("lpips_teacher", {}).get("value") for c in found}


def test_it_is_the_distance_between_the_pictures_of_the_run(folder: Path) -> None:
    assert main(["suite=tiny.yaml", "out=run", "device=cpu"]) == 0
    found = distances(folder / "run")
    assert found["twin-2step"] == 0 and found["teacher-2step"] is None
    model = _LPIPS(net="alex", pnet_rand=True)
    held = torch.load(folder / "alex.pth", weights_only=True)
    names = list(model.net.state_dict())
    model.net.load_state_dict({n: held["features." + n.split(".", 1)[1]] for n in names})
    pair = [pictures(folder / "run", f"{row}-2step") for row in ("mine", "teacher")]
    large = partial(torch.nn.functional.interpolate, size=256, mode="bicubic", antialias=True)
    expected = float(model(*map(large, pair)).mean())
    assert found["mine-2step"] == pytest.approx(expected, rel=1e-3) and expected > 0.01
    size = Image.open(folder / "run/images/small-2step/00000.png").size
    assert size == (32, 32) and found["small-2step"] > 0


def test_it_is_added_to_a_finished_run_and_another_teacher_is_another_metric(folder: Path) -> None:
    words = ["suite=tiny.yaml", "device=cpu", "~contestants.small", "~contestants.twin"]
    assert main([*words, "out=run"]) == 0
    assert main([*words, "out=other", "contestants.teacher.guidance=3"]) == 0
    runs = [json.loads((folder / name / "result.json").read_text()) for name in ("run", "other")]
    assert runs[0]["protocol"] != runs[1]["protocol"]
    assert distances(folder / "run")["mine-2step"] != distances(folder / "other")["mine-2step"]


def test_the_teachers_pictures_are_kept_where_no_others_are(folder: Path) -> None:
    words = ["suite=tiny.yaml", "device=cpu", "~contestants.small", "~contestants.twin"]
    assert main([*words, "out=run", "cache=all"]) == 0
    for _ in range(2):
        assert main([*words, "out=none", "cache=kept", "pictures=none"]) == 0
    assert distances(folder / "none") == distances(folder / "run")
    assert images(folder / "kept") == 3 and not (folder / "none/images/teacher-2step").exists()


def test_a_suite_without_a_teacher_is_told(folder: Path, capsys: Any) -> None:
    assert main(["suite=tiny.yaml", "device=cpu", "~contestants.teacher"]) == 2
    assert "needs one row of method teacher" in capsys.readouterr().err


def test_a_teacher_that_is_drawn_in_between_leaves_the_others_as_they_are(folder: Path) -> None:
    """The teacher's pictures are drawn while `mine` is scored, slice by slice, by the same networks
    in memory: each picture of `mine` is still one of its LoRA."""
    assert main(["suite=tiny.yaml", "out=run", "device=cpu"]) == 0
    suite = cli.read(["suite=tiny.yaml"]).suite
    assert suite is not None
    mine = suite.contestants[0]
    pipe = pipelines.pipeline(mine, Path(mine.weights), torch.device("cpu"))
    keys = [Key(i, text, 0) for i, text in enumerate(Path("mine.txt").read_text().splitlines())]
    alone = Sampler(pipe, mine.sampling, 2, 64)(keys).images
    found = (pictures(folder / "run", "mine-2step").permute(0, 2, 3, 1) + 1) * 127.5
    assert np.abs(found.numpy() - alone).max() <= 1
