"""Anchors made of photographs: real, through the VAE, and beside others' captions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as vision

from bench.cli import main


@pytest.fixture
def folder(tiny_suite: Callable[..., Path]) -> Path:
    """tiny.yaml with all anchors; `photographs` of 90 x 70 and 70 x 100 pixels."""
    anchors = ("real", "vae_round_trip", "shuffled_captions")
    lines = "".join(f"  {name}: {{images: photographs}}\n" for name in anchors)
    folder = tiny_suite(f"{lines}  plain: {{scheduler: ddim}}", [1])
    (folder / "photographs").mkdir()
    rng = np.random.default_rng(0)
    for index, (height, width) in enumerate([(70, 90), (100, 70), (64, 64)]):
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"photographs/{index:05d}.png")
    return folder


def picture(row: str, index: int) -> Any:
    return np.asarray(Image.open(Path("run/images") / row / f"{index:05d}.png"))


def test_they_are_the_middle_of_the_photographs(folder: Path, tiny_sdxl: Path) -> None:
    assert main(["suite=tiny.yaml", "out=run", "device=cpu"]) == 0
    with Image.open("photographs/00000.png") as image:  # 90 x 70
        expected = vision.resize(
            vision.center_crop(image, [70]), 64, vision.InterpolationMode.BICUBIC
        )
    inside = (slice(4, -4), slice(4, -4))  # at its edge ours sees the picture beyond the cut
    unlike = picture("real", 0)[inside].astype(int) - np.asarray(expected)[inside]
    assert np.abs(unlike).max() <= 1
    np.testing.assert_array_equal(
        picture("real", 2), np.asarray(Image.open("photographs/00002.png"))
    )
    reals = [picture("real", i) for i in range(3)]
    for index in range(3):
        other = picture("shuffled_captions", index)
        assert [i for i in range(3) if (reals[i] == other).all()] not in ([], [index])
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(tiny_sdxl, subfolder="vae")
    x = torch.from_numpy(reals[1])[None].permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        decoded = vae.decode(vae.encode(x).latent_dist.mode()).sample[0].permute(1, 2, 0)
    expected = ((decoded / 2 + 0.5).clamp(0, 1) * 255).numpy()
    assert np.abs(picture("vae_round_trip", 1) - expected).max() <= 1
    rows = json.loads(Path("run/result.json").read_text())["contestants"]
    assert [row["licence"] for row in rows if row["method"] == "real"] == ["unknown"]


def test_one_that_is_missing_is_named(folder: Path, capsys: Any) -> None:
    (folder / "photographs/00001.png").unlink()
    assert main(["suite=tiny.yaml", "device=cpu"]) == 2
    assert "1 of 3 images are missing: 00001" in capsys.readouterr().err
