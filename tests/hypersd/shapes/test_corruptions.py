"""Corruptions of training pictures, against Pillow and scipy."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from hypersd.pictures import to_unit
from hypersd.shapes import corruptions
from hypersd.shapes.render import render
from hypersd.shapes.scenes import sample_scene

PICTURES = np.stack([render(sample_scene("validation", i)) for i in range(8)])


def through_pillow(image: Any, quality: int) -> Any:
    held = io.BytesIO()
    Image.fromarray(image).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held), np.float64)


def levels(x: Tensor) -> Any:
    return ((x + 1) * 127.5).permute(0, 2, 3, 1).double().numpy()


@pytest.mark.parametrize("quality", [10, 50, 95])
def test_jpeg_is_pillows(quality: int) -> None:
    """But for libjpeg's integer arithmetic: a level on average, where JPEG costs several."""
    expected = np.stack([through_pillow(image, quality) for image in PICTURES])
    found = levels(corruptions.jpeg(to_unit(PICTURES), torch.full((8,), float(quality))))
    assert np.abs(found - expected).mean() < 1.0 < np.abs(expected - PICTURES).mean() / 2.5


def test_each_picture_has_a_quality_of_its_own() -> None:
    x = to_unit(PICTURES[:2])
    both = corruptions.jpeg(x, torch.tensor([10.0, 95.0]))
    for i, quality in enumerate((10.0, 95.0)):
        alone = corruptions.jpeg(x[i : i + 1], torch.tensor([quality]))
        torch.testing.assert_close(both[i : i + 1], alone)


def test_blur_is_scipys_away_from_the_border() -> None:
    x = to_unit(PICTURES[:2])
    found = corruptions.blurred(x, torch.tensor([0.0, 1.5]))
    expected = gaussian_filter(x[1].double().numpy(), (0, 1.5, 1.5), truncate=8.0)
    torch.testing.assert_close(found[0], x[0])
    inner = slice(10, -10)
    np.testing.assert_allclose(found[1, :, inner, inner], expected[:, inner, inner], atol=1e-5)


def test_noise_has_its_deviation() -> None:
    grain = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = corruptions.noised(torch.zeros(2, 3, 64, 64), torch.tensor([0.0, 15 / 255]), grain)
    assert found[0].abs().max() == 0
    assert float(found[1].std()) * 127.5 == pytest.approx(15, rel=0.02)


def test_all_draws_are_the_generators() -> None:
    x = to_unit(PICTURES)
    twice = [corruptions.corrupted(x, torch.Generator().manual_seed(3)) for _ in range(2)]
    torch.testing.assert_close(*twice, rtol=0, atol=0)
    assert twice[0].abs().max() <= 1 and (twice[0] != x).flatten(1).any(dim=1).all()
