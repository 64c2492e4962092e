"""Resizing as Pillow does it, on any device: the filters of published metrics, for whole batches.

Pillow filters rows, then columns, each with a window that widens as the picture shrinks
(`ImagingResample`). Both passes are linear, so each is a product with a matrix that depends on the
two lengths alone. With 8-bit pictures Pillow rounds after each pass; clean-fid keeps floats.
Differences between libraries' resizers move FID by whole points (Parmar et al. 2022, clean-fid).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.statistics.result import Array

if TYPE_CHECKING:
    from torch import Tensor

Kernel = Literal["bilinear", "bicubic", "lanczos"]
SUPPORT: dict[Kernel, float] = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}


@lru_cache(maxsize=32)
def matrix(old: int, new: int, kernel: Kernel) -> Array:
    """[new, old]: what each of `new` pixels takes from `old` ones; rows sum to 1."""
    scale = old / new
    widened = max(scale, 1.0)
    reach = SUPPORT[kernel] * widened
    centre = (np.arange(new)[:, None] + 0.5) * scale
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + reach + 0.5).astype(np.int64), old)
    index = np.arange(old)[None]
    weights = _weights((index - centre + 0.5) / widened, kernel)
    weights *= (index >= first) & (index < end)
    normed: Array = weights / weights.sum(axis=1, keepdims=True)
    return normed


def _weights(x: Array, kernel: Kernel) -> Array:
    """Pillow's kernels: the triangle, Keys' cubic with a = -0.5, Lanczos with three lobes."""
    x = np.abs(x)
    if kernel == "bilinear":
        found = np.maximum(1 - x, 0)
    elif kernel == "bicubic":
        near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        found = np.where(x < 1, near, np.where(x < 2, far, 0))
    else:
        found = np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0)
    return np.asarray(found, np.float64)


def resized(
    images: Tensor, height: int, width: int, *, kernel: Kernel = "bicubic", rounded: bool = False
) -> Tensor:
    """fp32 [B, 3, height, width], in the unit of `images` [B, 3, H, W].

    rounded: as Pillow treats 8-bit pictures, whole numbers within 0..255 after each pass.
    Otherwise as it treats floats: ringing may leave the range.
    """
    x = images.float()
    if x.shape[-1] != width:
        x = x @ _on(x, x.shape[-1], width, kernel).T
        x = _whole(x) if rounded else x
    if x.shape[-2] != height:
        x = _on(x, x.shape[-2], height, kernel) @ x
        x = _whole(x) if rounded else x
    return x


def _on(x: Tensor, old: int, new: int, kernel: Kernel) -> Tensor:
    import torch

    return torch.as_tensor(matrix(old, new, kernel), dtype=torch.float32, device=x.device)


def _whole(x: Tensor) -> Tensor:
    """Halves go up, as in Pillow's fixed-point arithmetic."""
    return (x + 0.5).floor().clamp(0, 255)


def clean(images: Tensor, side: int = 299) -> Tensor:
    """clean-fid's resizing of uint8 [B, 3, H, W]: bicubic on floats, cut to 0..255, not rounded."""
    return resized(images, side, side).clamp(0, 255)


def shortest(images: Tensor, side: int, kernel: Kernel = "bicubic") -> Tensor:
    """torchvision's `Resize(side)` of 8-bit pictures: the shorter side becomes `side`."""
    height, width = images.shape[-2:]
    short = min(height, width)
    new = [side if d == short else int(side * d / short) for d in (height, width)]
    return resized(images, new[0], new[1], kernel=kernel, rounded=True)


def centre(images: Tensor, side: int) -> Tensor:
    """torchvision's `CenterCrop(side)`. Raises ValueError for pictures smaller than that."""
    height, width = images.shape[-2:]
    if min(height, width) < side:
        raise ValueError(f"cannot cut {side} x {side} out of {height} x {width}")
    top, left = round((height - side) / 2.0), round((width - side) / 2.0)
    return images[..., top : top + side, left : left + side]


def padded(images: Tensor, side: int, *, antialias: bool = True) -> Tensor:
    """HPSv2's resizing of [B, 3, H, W] in 0..1: the longer side becomes `side`, the rest is 0.

    It resizes a tensor with torchvision's default, bicubic on floats, which widens the window
    (antialias) since torchvision 0.17 and did not before: the same code gives other scores.
    """
    from torch.nn.functional import interpolate, pad

    height, width = images.shape[-2:]
    scale = side / max(height, width)
    new = round(height * scale), round(width * scale)
    if antialias:
        small = resized(images, *new)
    else:
        small = interpolate(images, new, mode="bicubic", align_corners=False)
    top, left = (side - new[0]) // 2, (side - new[1]) // 2
    return pad(small, (left, side - new[1] - left, top, side - new[0] - top))
