"""The small convolutional networks of the oracle and of the feature network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """x + two 3x3 convolutions, batch-normalised; dilation widens what a cell sees."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        pad = {"padding": dilation, "dilation": dilation, "bias": False}
        self.first = nn.Conv2d(width, width, 3, **pad)  # type: ignore[arg-type]
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norms[0](self.first(x)))
        return F.relu(x + self.norms[1](self.second(h)))


def down(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """A stride-2 convolution, batch norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


@torch.no_grad()
def see_fine_detail(conv: Any) -> None:
    """Let a quarter of a first convolution's filters begin as Laplacians of one channel each.

    Grain and blur are small beside colours and edges, and random filters see them last.
    """
    side = conv.kernel_size[0]
    laplacian = torch.zeros(side, side)
    middle = side // 2
    laplacian[middle - 1 : middle + 2, middle] = laplacian[middle, middle - 1 : middle + 2] = -1.0
    laplacian[middle, middle] = 4.0
    for i in range(conv.out_channels // 4):
        conv.weight[i] = 0.0
        conv.weight[i, i % 3] = laplacian * (0.2 if i % 2 else -0.2)


def disturb(x: Tensor, rng: torch.Generator) -> Tensor:
    """Training pictures as a decoder might draw them: a random blur, contrast and grain each."""
    batch = x.shape[0]
    softer = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    mix = torch.rand(batch, 1, 1, 1, generator=rng).to(x) ** 2
    gain = 1 + 0.2 * (torch.rand(batch, 1, 1, 1, generator=rng).to(x) - 0.5)
    shift = 0.1 * (torch.rand(batch, 3, 1, 1, generator=rng).to(x) - 0.5)
    grain = torch.randn(x.shape, generator=rng).to(x)
    noise = 0.06 * torch.rand(batch, 1, 1, 1, generator=rng).to(x) * grain
    return (x + mix * (softer - x)) * gain + shift + noise


def parameters(module: nn.Module) -> int:
    """How many parameters a module has."""
    return sum(p.numel() for p in module.parameters())
