"""Pictures as uint8 and as what networks take: one conversion each way."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_unit(images: Any, device: torch.device | str = "cpu") -> Tensor:
    """uint8 [B, H, W, 3], array or tensor -> float32 [B, 3, H, W] in [-1, 1].

    Raises TypeError for pictures that are not uint8.
    """
    tensor = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
    if tensor.dtype != torch.uint8:
        raise TypeError(f"images are uint8, not {tensor.dtype}")
    return tensor.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_uint8(pixels: Tensor) -> NDArray[np.uint8]:
    """float [B, 3, H, W] in [-1, 1], on any device -> uint8 [B, H, W, 3], rounded once."""
    scaled = (pixels.detach().float() / 2 + 0.5).clamp(0, 1) * 255
    rounded = scaled.round().to(torch.uint8).permute(0, 2, 3, 1)
    array: NDArray[np.uint8] = rounded.contiguous().cpu().numpy()
    return array
