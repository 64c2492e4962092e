"""Resizing against clean-fid, Pillow, torchvision and HPSv2's own preprocessing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from bench.metrics import resize


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A soft background, hard edges and some noise: what a resizer gets wrong shows at edges."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = 127 + 90 * np.sin(x / 7)[..., None] * np.cos(y / 11)[..., None] * [1, 0.5, -1]
    base[height // 3 : height // 2, width // 4 : width // 2] = [255, 0, 255]
    noisy = base + rng.normal(0, 20, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def batch(image: np.ndarray) -> torch.Tensor:
    return torch.tensor(image).permute(2, 0, 1)[None]


@pytest.mark.parametrize("shape", [(512, 512), (200, 310), (299, 299), (1024, 640)])
def test_clean_is_clean_fids_resizing(shape: tuple[int, int]) -> None:
    from cleanfid.resize import build_resizer

    image = picture(*shape)
    expected = build_resizer("clean")(image)
    ours = resize.clean(batch(image))[0].permute(1, 2, 0).numpy()
    assert ours.dtype == np.float32
    assert np.abs(ours - expected).max() < 0.01


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(64, 64), (300, 90)])
def test_rounded_is_pillows_8_bit_resizing(kernel: Any, size: tuple[int, int]) -> None:
    image = picture(180, 240)
    named = getattr(Image.Resampling, kernel.upper())
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], named), np.float32)
    ours = resize.resized(batch(image), *size, kernel=kernel, rounded=True)
    gap = np.abs(ours[0].permute(1, 2, 0).numpy() - expected)
    assert gap.max() <= 1
    assert (gap > 0).mean() < 0.01  # ties, which fixed point and floats break differently


@pytest.mark.parametrize("shape", [(300, 300), (181, 340), (401, 225)])
def test_shortest_and_centre_are_torchvisions(shape: tuple[int, int]) -> None:
    image = picture(*shape)
    both = [transforms.Resize(97, InterpolationMode.BICUBIC), transforms.CenterCrop(96)]
    expected = np.asarray(transforms.Compose(both)(Image.fromarray(image)), np.float32)
    ours = resize.centre(resize.shortest(batch(image), 97), 96)[0].permute(1, 2, 0).numpy()
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= 1


def test_nothing_is_cut_out_of_a_smaller_picture() -> None:
    with pytest.raises(ValueError, match="cannot cut 96 x 96 out of 80 x 120"):
        resize.centre(torch.zeros(1, 3, 80, 120), 96)


def hpsv2_preprocessed(image: np.ndarray, side: int, antialias: bool) -> torch.Tensor:
    """hpsv2 1.2.0, hpsv2/src/open_clip/transform.py, ResizeMaxSize after ToTensor (its steps,
    written down; the package itself pins versions that do not live in this environment)."""
    x = transforms.ToTensor()(Image.fromarray(image))
    scale = side / float(max(x.shape[1:]))
    if scale != 1.0:
        height, width = (round(d * scale) for d in x.shape[1:])
        x = tv.resize(x, [height, width], InterpolationMode.BICUBIC, antialias=antialias)
        h, w = side - height, side - width
        x = tv.pad(x, [w // 2, h // 2, w - w // 2, h - h // 2], fill=0)
    return x


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("shape", [(256, 256), (180, 301), (333, 120), (96, 96)])
def test_padded_is_hpsv2s_preprocessing(shape: tuple[int, int], antialias: bool) -> None:
    image = picture(*shape)
    ours = resize.padded(batch(image).float() / 255, 96, antialias=antialias)[0]
    assert torch.allclose(ours, hpsv2_preprocessed(image, 96, antialias), atol=2e-5)
