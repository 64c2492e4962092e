"""Shape and colour in each latent cell: dense labels for the teacher's inner features during
training.

Denoising alone teaches a small UNet the words for shapes slowly. Aligning its inner features with
what a strong vision model sees speeds such training up many times (Yu et al. 2024, REPA, arXiv
2410.06940); the renderer knows its scenes exactly, so its labels take that model's place. The head
is thrown away after training.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from hypersd.shapes.render import draw
from hypersd.shapes.scenes import CANVAS, COLOURS, SHAPES, sample_scene

CELLS = 16  # cells a side, as in the latents
KINDS = (1 + len(SHAPES), 1 + len(COLOURS))  # classes of either map; 0: background
BACKGROUND_WEIGHT = 0.25  # most cells are background, and the easiest


def labels(split: str, start: int, count: int) -> NDArray[np.uint8]:
    """Shape and colour of the thing that fills most of each cell: [count, 2, CELLS, CELLS] uint8,
    0 where the background does."""
    found = np.zeros((count, 2, CELLS, CELLS), dtype=np.uint8)
    colours = list(COLOURS)
    side = CANVAS // CELLS
    for n in track(range(count), f"layouts of {split}"):
        scene = sample_scene(split, start + n)
        masks = draw(scene)[1]
        for thing, mask in zip(scene.spec.things, masks, strict=True):
            filled = mask.reshape(CELLS, side, CELLS, side).mean((1, 3)) >= 0.5
            found[n, 0][filled] = 1 + SHAPES.index(thing.shape)
            found[n, 1][filled] = 1 + colours.index(thing.colour)
    return found


class LayoutHead(nn.Module):
    """Features [B, width, CELLS / 2, CELLS / 2] -> logits [B, sum(KINDS), CELLS, CELLS]."""

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, hidden, 1), nn.SiLU(),
            nn.Conv2d(hidden, 4 * sum(KINDS), 1), nn.PixelShuffle(2),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layers(features)
        return logits


def layout_loss(logits: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of both maps, and the share of the things' cells that is named right.

    logits: [B, sum(KINDS), CELLS, CELLS].  truth: [B, 2, CELLS, CELLS] of `labels`.
    """
    loss, scalars = torch.zeros((), device=logits.device), {}
    parts = torch.split(logits.float(), list(KINDS), dim=1)
    for name, part, aim in zip(("shape", "colour"), parts, truth.long().unbind(1), strict=True):
        weight = torch.ones(part.shape[1], device=part.device)
        weight[0] = BACKGROUND_WEIGHT
        loss = loss + F.cross_entropy(part, aim, weight)
        right = part.argmax(1) == aim
        scalars[f"{name}_cells"] = float(right[aim > 0].float().mean())
    return loss, scalars
