"""Several processes leave out the same rows, and a report stands while they draw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

Together = Callable[..., list[int | None]]


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


@pytest.fixture
def bad(world: Path, tiny_lora: Path) -> list[str]:
    """Words that add a contestant which fails as it is loaded, and one that fails at its header."""
    lora = load_file(tiny_lora / "pytorch_lora_weights.safetensors")
    save_file({k: v * float("nan") for k, v in lora.items()}, world / "nan.safetensors")
    strangers = {k.replace("down_blocks", "deep_blocks"): v for k, v in lora.items()}
    save_file(strangers, world / "other.safetensors")
    return [word for name in ("nan", "other")
            for word in (f"+contestants.{name}.lora={name}.safetensors",
                         f"+contestants.{name}.like=lcm")]  # fmt: skip


def test_two_processes_leave_out_the_same_rows(
    together: Together, bad: list[str], world: Path
) -> None:
    assert together(2, "out=run", "keep_going=true", *bad) == [4, 0]
    found = result(world / "run")
    assert [one["name"] for one in found["contestants"]] == ["lcm-1step", "lcm-2step", "real"]
    left_out = [row["name"] for row in found["missing"]]
    assert left_out == ["nan-1step", "nan-2step", "other-1step", "other-2step"]
    assert together(2, "out=alone") == [0, 0]
    assert found["comparisons"] == result(world / "alone")["comparisons"]


def test_two_processes_end_alike_where_none_keeps_going(
    together: Together, bad: list[str], world: Path
) -> None:
    assert together(2, "out=run", *bad[2:]) == [2, 2]
    for rank in (0, 1):
        assert "in this base's networks" in (world / f"said.{rank}.err").read_text()
    assert not (world / "run/result.json").exists()
