"""The world's stand-in for LPIPS: the same distance through its own feature network.

    d(x, y) = sum over layers of mean over places of |x_l / |x_l| - y_l / |y_l||^2

over the blocks of the network under the Frechet distance. Nobody's judgement of likeness went into
it, so every layer counts the same (LPIPS learned that from people).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.metrics.networks.base import Tower

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-8  # as torchmetrics' LPIPS adds to a squared length


@dataclass(frozen=True)
class ShapesPerceptual(Tower):
    """against: identity of the contestant whose pictures others are held against."""

    kind: ClassVar[str] = "shapes_perceptual"
    against: str = ""

    @property
    def identity(self) -> str:
        """Weights, input, output, and whose pictures are the other ones."""
        from hypersd.shapes.weights import weights_sha256

        checksum = weights_sha256("features")[:12]
        return (f"{self.kind}/1;weights={checksum};input=uint8 64x64 RGB;output=distance;"
                f"teacher={self.against}")  # fmt: skip

    def build(self, device: str) -> PerceptualNetwork:
        """The network, fp32. Raises UsageError where its weights are missing or damaged."""
        from hypersd.shapes.evaluators import load_features

        return PerceptualNetwork(load_features(device).body)


class PerceptualNetwork:
    """Blocks of a network, one after the other."""

    def __init__(self, blocks: Any) -> None:
        self.blocks = blocks

    def between(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances [B, 1] of uint8 pictures [B, H, W, 3] from others, one by one."""
        import torch

        x = torch.cat([images, others]).permute(0, 3, 1, 2).float() / 127.5 - 1
        total = x.new_zeros(len(images))
        for block in self.blocks:
            x = block(x)
            unit = x / (TINY + x.square().sum(dim=1, keepdim=True)).sqrt()
            one, other = unit.chunk(2)
            total += (one - other).square().sum(dim=1).mean(dim=(1, 2))
        return total[:, None]
