"""Corruptions of training pictures: noise, blur or JPEG, as in ImageNet-C (Hendrycks and
Dietterich 2019, arXiv 1903.12261), for networks whose judgement is to stay the same under them.

x: [B, 3, H, W] pictures in [-1, 1].  One strength per picture, [B].
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

NOISE = 20 / 255  # largest standard deviation, of a range of 1
BLUR = 1.6  # largest standard deviation, pixels
QUALITY = (10.0, 95.0)  # of JPEG
BLOCK = 8
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # ITU-T T.81, table K.1  # fmt: skip
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99), (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * BLOCK,) * 4,
)  # table K.2  # fmt: skip
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def corrupted(x: Tensor, rng: torch.Generator) -> Tensor:
    """Each picture under one corruption of a random strength, in [-1, 1]; all draws are `rng`'s."""
    kind = torch.randint(3, (len(x),), generator=rng).to(x.device)
    strength = torch.rand(len(x), generator=rng).to(x)
    grain = torch.randn(x.shape, generator=rng).to(x)
    quality = QUALITY[1] + (QUALITY[0] - QUALITY[1]) * strength
    noisy, soft, compressed = (kind == i for i in range(3))
    out = torch.empty_like(x)
    out[noisy] = noised(x[noisy], NOISE * strength[noisy], grain[noisy])
    out[soft] = blurred(x[soft], BLUR * strength[soft])
    out[compressed] = jpeg(x[compressed], quality[compressed])
    return out


def noised(x: Tensor, deviation: Tensor, grain: Tensor) -> Tensor:
    """With white noise added. deviation: of a range of 1.  grain: normal draws, as x."""
    return (x + 2 * deviation.view(-1, 1, 1, 1) * grain).clamp(-1, 1)


def blurred(x: Tensor, deviation: Tensor) -> Tensor:
    """Convolved with a Gaussian, whose part beyond the border is left out. deviation: pixels."""
    height, width = (_blur(side, deviation) for side in x.shape[-2:])
    return torch.einsum("bij,bcjk,blk->bcil", height, x, width)


def _blur(side: int, deviation: Tensor) -> Tensor:
    """A blur along one axis as matrices whose rows sum to 1, [B, side, side]."""
    at = torch.arange(side, device=deviation.device, dtype=deviation.dtype)
    far = (at[:, None] - at) / deviation.clamp(min=1e-2).view(-1, 1, 1)
    weights = (-0.5 * far.square()).exp()
    return weights / weights.sum(-1, keepdim=True)


def jpeg(x: Tensor, quality: Tensor) -> Tensor:
    """Baseline JPEG, encoded and decoded: colours at half the resolution (4:2:0), coefficients of
    8x8 blocks rounded by libjpeg's tables. quality: 1 to 100.  H, W: multiples of 16.  No
    gradient."""
    turn = x.new_tensor(YCBCR)
    y, *colours = torch.einsum("ij,bjhw->ibhw", turn, (x + 1) * 127.5)
    tables = (_table(quality, x.new_tensor(rows)) for rows in (LUMA, CHROMA, CHROMA))
    planes = [y - 128, *(F.avg_pool2d(c[:, None], 2)[:, 0] for c in colours)]
    y, *colours = (_rounded(plane, table) for plane, table in zip(planes, tables, strict=True))
    whole = [F.interpolate(c[:, None], scale_factor=2.0, mode="bilinear")[:, 0] for c in colours]
    pixels = torch.einsum("ij,jbhw->bihw", turn.inverse(), torch.stack([y + 128, *whole]))
    return pixels.round().clamp(0, 255) / 127.5 - 1


def _table(quality: Tensor, standard: Tensor) -> Tensor:
    """libjpeg's quantisation tables [B, 8, 8] of qualities [B]."""
    whole = quality.round()
    scale = torch.where(whole < 50, (5000 / whole).floor(), 200 - 2 * whole)
    return ((standard * scale.view(-1, 1, 1) + 50) / 100).floor().clamp(1, 255)


def _rounded(plane: Tensor, table: Tensor) -> Tensor:
    """A plane [B, H, W] whose blocks' cosine transform is rounded to multiples of a table."""
    turn = _cosines().to(plane)
    batch, height, width = plane.shape
    blocks = plane.view(batch, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    found = torch.einsum("ui,bhiwj,vj->bhwuv", turn, blocks, turn)
    step = table[:, None, None]
    back = torch.einsum("ui,bhwuv,vj->bhiwj", turn, (found / step).round() * step, turn)
    return back.reshape(plane.shape)


@cache
def _cosines() -> Tensor:
    """The orthonormal cosine transform of 8 values, [8, 8]."""
    at = torch.arange(BLOCK, dtype=torch.float64)
    turn: Tensor = ((2 * at + 1) * at[:, None] * math.pi / (2 * BLOCK)).cos() * (2 / BLOCK) ** 0.5
    turn[0] /= 2**0.5
    return turn
