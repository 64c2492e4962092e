"""Weights and pictures that any environment can make again: numpy's streams, seeded by names.

Used by the tests here and by the script that makes golden values with packages that do not live in
this environment, so that both sides hold the same network without a file.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal values of a weight: scaled by its fan-in; about 1 where it scales a normalisation."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    found = rng.normal(size=shape)
    if name.endswith("running_var"):
        return (1 + 0.2 * np.abs(found)).astype(np.float32)
    if name.endswith("weight") and len(shape) == 1:
        return (1 + 0.2 * found).astype(np.float32)
    if len(shape) <= 1 or "embed" in name or "cls_token" in name:
        return (0.3 * found).astype(np.float32)
    return (found / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def state(shapes: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict of tensors for the names and shapes of another one; its buffers stay."""
    import torch

    return {
        name: torch.from_numpy(array(name, tuple(value.shape)))
        if torch.is_floating_point(value) and not name.endswith(("logit_scale", "attn_mask"))
        else value
        for name, value in shapes.items()
    }


def pictures(n: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [n, height, width, 3]: waves, a hard-edged rectangle and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    made = []
    for _ in range(n):
        a, b, c = rng.uniform(5, 40, 3)
        waves = np.sin(x / a)[..., None] * np.cos(y / b)[..., None] * rng.normal(size=3)
        image = 127 + 80 * waves + rng.normal(0, c / 2, (height, width, 3))
        top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
        image[top : top + height // 3, left : left + width // 3] = rng.integers(0, 256, 3)
        made.append(image.clip(0, 255).astype(np.uint8))
    return np.stack(made)


PROMPTS = (
    "A red cube next to a blue ball.",
    "Two dogs play chess in the rain, oil on canvas",
    "café at dusk",
    "a " + "very " * 90 + "long corridor with a small green door at its end",
)
