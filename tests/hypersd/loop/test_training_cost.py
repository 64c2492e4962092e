"""The cost benchmark counts what is there: AdamW's two moments, a critic's half of a UNet."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


def test_bytes_and_copies_are_counted(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HYPERSD_CACHE", str(tmp_path))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    training_cost = import_module("training_cost")
    out = tmp_path / "cost.json"
    assert training_cost.main([
        f"base={tiny_base}", "methods=lcm;tscd, critic;tscd, frozen critic", "batch=2", "steps=1",
        "precision=fp32", f"out={out}",
    ]) == 0  # fmt: skip
    lcm, tscd, frozen = json.loads(out.read_text())["rows"]
    assert "| lcm |" in capsys.readouterr().out
    unet = UNet2DConditionModel.from_pretrained(tiny_base, subfolder="unet")
    whole = sum(p.numel() for p in unet.parameters())
    half = whole - sum(
        p.numel() for part in (unet.up_blocks, unet.conv_norm_out, unet.conv_out)
        for p in part.parameters()
    )  # fmt: skip
    assert lcm["unets"] == frozen["unets"] == 1.0
    assert tscd["unets"] == pytest.approx(1 + half / whole, abs=0.01)
    assert lcm["optimizer_bytes"] == pytest.approx(2 * lcm["gradient_bytes"], rel=0.02)
    assert lcm["weight_bytes"] == 4 * whole + lcm["gradient_bytes"]
    assert lcm["images_per_second"] == pytest.approx(2 / lcm["seconds_per_step"], rel=0.05)
