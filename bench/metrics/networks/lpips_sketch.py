"""What LPIPS compares, as one vector a picture: the base of `lpips_share`.

LPIPS is a squared Euclidean distance, d(x, y) = |phi(x) - phi(y)|^2, with at each place and layer

    phi_l = (w_l / places)^(1/2) * x_l / |x_l|

phi has 640,000 numbers a picture (AlexNet at 256 px), too many to keep. A count sketch (Charikar,
Chen and Farach-Colton 2002) keeps 4,096: every number is added to one of them, with a sign, both
drawn at random once and for all. The squared distance of two sketches has LPIPS as its expectation;
one pair is off by about 2 %, a mean over pairs of many prompts by much less (docs/metrics.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.metrics.networks.base import Network
from bench.metrics.networks.lpips import Lpips, LpipsNetwork
from bench.metrics.networks.placement import Movable

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 4096
SEED = 0


@dataclass(frozen=True)
class LpipsSketch(Network):
    """net: "alex" or "vgg".  weights: of the backbone, a source; empty: torchvision's."""

    kind: ClassVar[str] = "lpips_sketch"
    net: str = "alex"
    weights: str = ""

    @property
    def lpips(self) -> Lpips:
        """The network that compares pairs."""
        return Lpips(self.net, self.weights)

    @property
    def sources(self) -> tuple[str, ...]:
        """The backbone's file."""
        return self.lpips.sources

    @property
    def about(self) -> str:
        """Network, input and output."""
        whole = self.lpips.about.partition(";output=")[0]
        return f"{whole};output=count sketch {WIDTH} of its features, seed {SEED}"

    def build(self, device: str) -> LpipsSketchNetwork:
        """The network in fp32. Raises UsageError for other weights."""
        return LpipsSketchNetwork(self.lpips.build(device))


class LpipsSketchNetwork(Movable):
    """A loaded LPIPS that gives the sketch of a picture."""

    def __init__(self, lpips: LpipsNetwork) -> None:
        self.lpips, self.device = lpips, lpips.device
        self._places: dict[int, tuple[Any, Any]] = {}  # by layer: order and signs of its numbers

    def to(self, device: str) -> None:
        """Move its weights."""
        self.device = device
        self.lpips.to(device)
        self._places = {}

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """[B, 4096] of uint8 [B, H, W, 3]."""
        del prompts
        sketches = [
            self._sketched(number, layer)
            for number, layer in enumerate(self.layers(self.lpips.prepared(images)))
        ]
        found: Tensor = sum(sketches[1:], sketches[0])
        return found

    def layers(self, x: Tensor) -> list[Tensor]:
        """phi of each layer [B, D_l], of prepared pictures."""
        from torchmetrics.functional.image.lpips import _normalize_tensor

        model, found = self.lpips.model, []
        outputs = model.net.forward(model.scaling_layer(x))
        for output, head in zip(outputs, model.lins, strict=True):
            weight = head.model[-1].weight / output[0, 0].numel()
            found.append((_normalize_tensor(output) * weight.clamp_min(0).sqrt()).flatten(1))
        return found

    def _sketched(self, number: int, layer: Tensor) -> Tensor:
        """Numbers in a random order, with random signs, cut into rows of 4,096 that are added."""
        import torch

        if number not in self._places:
            self._places[number] = _drawn(number, layer.shape[1], layer.device)
        order, signs = self._places[number]
        rows = -(-layer.shape[1] // WIDTH)
        mixed = torch.nn.functional.pad(layer[:, order] * signs, (0, rows * WIDTH - len(order)))
        return mixed.view(len(layer), rows, WIDTH).sum(dim=1)


def _drawn(number: int, size: int, device: Any) -> tuple[Tensor, Tensor]:
    """The order and the signs of a layer's numbers, the same on every machine."""
    import numpy as np
    import torch

    rng = np.random.RandomState(SEED + number)  # its stream is fixed for all versions of numpy
    order, signs = rng.permutation(size), rng.randint(0, 2, size) * 2 - 1
    return torch.from_numpy(order).to(device), torch.from_numpy(signs).to(device, torch.float32)
