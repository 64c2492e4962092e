"""Whole runs on a tiny SDXL pipeline: with files, and with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import cli
from bench.cli import main
from bench.errors import UsageError
from bench.run.hardware import Machine
from bench.run.plan import make
from bench.run.progress import console
from bench.run.run import run
from bench.run.show import show_plan


@pytest.fixture
def folder(sdxl_files: Path, tiny_suite: Callable[..., Path]) -> Path:
    """A working directory with tiny.yaml: a teacher, a method with `at`, and one `like` it."""
    contestants = f"""
  teacher: {{steps: [2], guidance: 5}}
  hyper_sd:
    lora: {sdxl_files}/peft.safetensors
    scheduler: ddim
    spacing: trailing
    at: {{1: {{scheduler: tcd, eta: 1.0}}, 2: {{}}}}
  mine: {{lora: {sdxl_files}/kohya.safetensors, like: hyper_sd}}
"""
    return tiny_suite(contestants, [1, 2])


def picture(run: Path, row: str) -> Any:
    return np.asarray(Image.open(run / "images" / row / "00001.png")).astype(int)


def test_a_run_on_a_base_of_its_own(folder: Path) -> None:
    """`mine` holds the same LoRA in other keys, so it draws the same at every number of steps."""
    assert main(["suite=tiny.yaml", "out=run", "device=cpu"]) == 0
    found = json.loads((folder / "run/result.json").read_text())
    names = [c["name"] for c in found["contestants"]]
    assert names == ["teacher-2step", "hyper_sd-1step", "hyper_sd-2step", "mine-1step",
                     "mine-2step"]  # fmt: skip
    assert found["contestants"][0]["nfe"] == 4 and found["ledger"]["out_of_memory"] == []
    for steps in ("1step", "2step"):
        mine, theirs = (picture(folder / "run", f"{k}-{steps}") for k in ("mine", "hyper_sd"))
        assert np.abs(mine - theirs).max() <= 1
    assert (picture(folder / "run", "mine-1step") != picture(folder / "run", "mine-2step")).any()


def test_random_weights_are_marked_and_not_judged(folder: Path) -> None:
    """On the page, on every page of the PDF, and in tables; seconds are what is left to tell."""
    pdfium = pytest.importorskip("pypdfium2")
    assert main(["suite=tiny.yaml", "out=run", "device=cpu", "random_weights=true"]) in (0, 4)
    mark = "random weights, no quality meaning"
    for name in ("report.html", "tables/results.md", "tables/results.tex"):
        assert mark in (folder / "run" / name).read_text()
    with pdfium.PdfDocument(folder / "run/report.pdf") as document:
        for page in document:
            assert mark in page.get_textpage().get_text_bounded()
    found = json.loads((folder / "run/result.json").read_text())
    assert found["title"].endswith(f"({mark})")
    for one in found["contestants"]:
        assert one["metrics"] == {} and one["seconds_per_image"]["unet"] > 0


def test_all_that_is_missing_is_listed_at_once(folder: Path, capsys: Any) -> None:
    words = ["suite=tiny.yaml", "precision=fp16", "contestants.mine.lora=hf://them/none/x.bin"]
    command, bare = cli.read(words), Machine(gpu=lambda: None, free=lambda path: 1000)
    assert command.suite is not None
    plan = make(command.suite, command.options, bare)
    show_plan(plan, console())
    planned = capsys.readouterr().out
    for said in ("missing: a GPU", "missing: disk", "missing: 1 downloads", "HF_HOME"):
        assert said in planned
    with pytest.raises(UsageError, match="of what this run needs is missing"):
        run(plan, console(), lambda *_: None)
    assert "missing: a GPU" in capsys.readouterr().out
    assert main(words) == 2
    done = capsys.readouterr()
    assert "missing: 1 downloads" in done.out and done.err.count("\n") == 1
