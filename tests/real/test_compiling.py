"""`compile=true`: other identities, the same pictures, and one line where it cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cli import main

CONTESTANTS = """
  teacher: {{steps: [2], guidance: 3}}
  lcm: {{lora: {lora}, scheduler: lcm}}
"""
WORDS = ["suite=tiny.yaml", "device=cpu"]


@pytest.fixture
def folder(sdxl_files: Path, tiny_suite: Callable[..., Path]) -> Path:
    """A working directory with tiny.yaml and the pictures of a run without a compiler."""
    contestants = CONTESTANTS.format(lora=sdxl_files / "peft.safetensors")
    folder = tiny_suite(contestants, [2], prompts=2)
    assert main([*WORDS, "out=plain"]) == 0
    return folder


def result(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "result.json").read_text())
    return found


def compared(folder: Path) -> int:
    """The largest difference of a pixel between the two runs, whose contestants are others."""
    plain, compiled = result(folder / "plain"), result(folder / "run")
    assert (plain["environment"]["compiled"], compiled["environment"]["compiled"]) == (False, True)
    pairs = zip(plain["contestants"], compiled["contestants"], strict=True)
    assert all(a["name"] == b["name"] and a["identity"] != b["identity"] for a, b in pairs)
    worst = 0
    for path in sorted((folder / "plain/images").glob("*/*.png")):
        other = folder / "run" / path.relative_to(folder / "plain")
        images = [np.asarray(Image.open(p)).astype(int) for p in (path, other)]
        worst = max(worst, int(np.abs(images[0] - images[1]).max()))
    return worst


def test_every_unet_goes_through_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def passed(network: Any) -> Any:
        asked.append(type(network).__name__)
        return network

    monkeypatch.setattr(torch, "compile", passed)
    assert main([*WORDS, "out=run", "compile=true"]) == 0
    assert asked == ["function", "UNet2DConditionModel", "UNet2DConditionModel"]
    assert compared(folder) == 0


def test_where_it_does_not_work_it_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def broken(network: Any) -> Any:
        raise RuntimeError("no C++ compiler\nis found")

    monkeypatch.setattr(torch, "compile", broken)
    capsys.readouterr()
    assert main([*WORDS, "out=run", "compile=true"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "torch.compile does not work on cpu here" in said
    assert main([*WORDS, "out=run", "compile=perhaps"]) == 2


def test_each_process_asks_for_its_own_gpu(
    judged: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert main(["suite=shapes_1step", "device=cuda", "compile=true"]) == 2
    assert "torch.compile does not work on cuda:1 here" in capsys.readouterr().err


@pytest.mark.slow
def test_the_pictures_are_the_same_but_for_rounding(folder: Path) -> None:
    assert main([*WORDS, "out=run", "compile=true"]) == 0
    assert compared(folder) <= 2
