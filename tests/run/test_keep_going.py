"""A contestant that cannot be drawn: found before anything is, and left out where a suite keeps
going."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from tests.support.models import random_lora

Bench = Callable[..., int]
CUT, OTHER, NAN, UNET = (
    f"+contestants.{name}.{kind}={name}.{suffix} +contestants.{name}.like=lcm".split()
    for name, kind, suffix in (
        ("cut", "lora", "safetensors"), ("other", "lora", "safetensors"),
        ("nan", "lora", "safetensors"), ("unet", "unet", "bin"),
    )
)  # fmt: skip


@pytest.fixture
def files(world: Path, tiny_base: Path, tiny_lora: Path) -> Path:
    """The working directory, with a LoRA that is cut off, one of another base, one whose values are
    not finite, and another base's UNet as a pickle."""
    lora = tiny_lora / "pytorch_lora_weights.safetensors"
    shutil.copy(lora, world / "cut.safetensors")
    with (world / "cut.safetensors").open("r+b") as file:
        file.truncate(lora.stat().st_size // 2)
    config = dict(UNet2DConditionModel.load_config(tiny_base / "unet"))
    wider = UNet2DConditionModel.from_config(config | {"block_out_channels": (32, 64)})
    torch.save(wider.state_dict(), world / "unet.bin")
    named = {f"unet.{k}": v.contiguous() for k, v in random_lora(wider, seed=1).items()}
    save_file(named, world / "other.safetensors")
    save_file({k: v * torch.nan for k, v in load_file(lora).items()}, world / "nan.safetensors")
    return world


def lines(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def test_all_that_cannot_be_drawn_is_listed_before_anything_is(
    bench: Bench, files: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A header tells; of a pickle its index. One is damaged as the plan sees already. On a base of
    its own each has a line, in the world all are in one."""
    assert bench("out=run", *OTHER, *UNET, *CUT) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.count("cannot be loaded (") == 2 and "cut.safetensors: damaged" in error
    own = (f"base={tiny_base}", "contestants.lcm.scheduler=lcm", "metrics=[clip]")
    assert bench("out=run", *own, *OTHER, *UNET, *CUT) == 2
    said = capsys.readouterr()
    listed = [line for line in said.out.splitlines() if line.startswith("cannot be drawn: ")]
    assert [line.split(": ")[1] for line in listed] == [
        "cut.safetensors", "contestants.other", "contestants.unet",
    ]  # fmt: skip
    assert sum("cannot be loaded (" in line for line in listed) == 2
    assert "3 contestants cannot be drawn, as listed above" in said.err
    assert not list((files / "runs").glob("cache/images/*/*")) and not (files / "run").exists()


def test_a_single_one_is_said_in_the_error(
    bench: Bench, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("out=run", *OTHER) == 2
    error = capsys.readouterr().err
    assert "error: contestants.other: other.safetensors: cannot be loaded (" in error
    assert "in this base" in error and error.count("\n") == 1


def test_the_others_are_run_where_a_suite_keeps_going(
    bench: Bench, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One is damaged as the plan sees, one fits no base as its header shows, one cannot be merged
    as only its values show."""
    words = ("out=run", "keep_going=true", *CUT, *OTHER, *NAN)
    assert bench(*words, "task=plan") == 0
    assert "left out: " in capsys.readouterr().out
    assert bench(*words) == 4
    found = lines(files / "run")
    assert [one["name"] for one in found["contestants"]] == ["lcm-1step", "lcm-2step", "real"]
    why = {row["name"]: row["why"] for row in found["missing"]}
    assert [*why] == [f"{key}-{n}step" for key in ("cut", "other", "nan") for n in (1, 2)]
    assert "damaged: has" in why["cut-1step"]
    assert "cannot be loaded (" in why["other-2step"] and "not finite" in why["nan-1step"]
    page = (files / "run/report.html").read_text()
    assert "6 rows could not be drawn" in page and "nan-1step" in page
    table = (files / "run/tables/results.md").read_text()
    assert "Left out: cut-1step, cut-2step, other-1step" in table and "Partial" not in table
    assert bench(*words, "task=report") == 0
    assert bench("out=alone") == 0
    assert found["comparisons"] == lines(files / "alone")["comparisons"]


def test_a_run_of_which_nothing_is_left_ends(
    bench: Bench, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("~contestants.lcm", "~contestants.real", "keep_going=true")
    for bad in (CUT, OTHER, NAN):
        assert bench(*words, *bad) == 2
        error = capsys.readouterr().err
        assert bad[0].split("=")[1] in error and error.count("\n") == 1
