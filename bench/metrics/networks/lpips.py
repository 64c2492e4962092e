"""LPIPS (Zhang et al. 2018, arXiv 1801.03924): how unlike two pictures look, `lpips_teacher`.

    d(x, y) = sum over layers of mean over places of w_l . (x_l / |x_l| - y_l / |y_l|)^2

x_l: what a layer of AlexNet or VGG16 makes of a picture, unit length at each place. Network and
the learned w_l are torchmetrics' (version 0.1 of the authors'); the backbone's weights are
torchvision's. Both pictures are made 256 pixels large first, so that contestants of another size
than the teacher's can be compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError, brief, nearest
from bench.metrics import resize, weights
from bench.metrics.networks.base import Network
from bench.metrics.networks.placement import Movable

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 256
_ADDRESS = "https://download.pytorch.org/models"
BACKBONES = {
    "alex": f"{_ADDRESS}/alexnet-owt-7be5be79.pth#sha256=7be5be79",
    "vgg": f"{_ADDRESS}/vgg16-397923af.pth#sha256=397923af",
}


@dataclass(frozen=True)
class Lpips(Network):
    """net: "alex" or "vgg".  weights: of the backbone, a source; empty: torchvision's.  against:
    identity of the contestant that others are compared with.
    """

    kind: ClassVar[str] = "lpips"
    net: str = "alex"
    weights: str = ""
    against: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """The backbone's file."""
        return (self.weights or BACKBONES[self.net],)

    @property
    def heads(self) -> Path:
        """The file of w_l, which torchmetrics carries. Raises UsageError for an unknown net."""
        if self.net not in BACKBONES:
            raise UsageError(f"{self.kind}: net={self.net}; {nearest(self.net, BACKBONES)}")
        spec = find_spec("torchmetrics")
        assert spec is not None and spec.origin is not None
        return Path(spec.origin).parent / f"functional/image/lpips_models/{self.net}.pth"

    @property
    def about(self) -> str:
        """Network, input, and whose pictures are the other ones."""
        heads = weights.sha256(self.heads)[:12]
        return f"{self.net};heads={heads};input=clean {SIDE};output=distance;teacher={self.against}"

    def build(self, device: str) -> LpipsNetwork:
        """The network in fp32. Raises UsageError for other weights."""
        return LpipsNetwork(_model(self), device)


class LpipsNetwork(Movable):
    """A loaded LPIPS."""

    def __init__(self, model: Any, device: str) -> None:
        self.model = model
        self.to(device)

    def between(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances [B, 1] of uint8 pictures [B, H, W, 3] from others, one by one."""
        found: Tensor = self.model(self.prepared(images), self.prepared(others))
        return found.flatten(1)

    def prepared(self, images: Tensor) -> Tensor:
        """[B, 3, 256, 256] in [-1, 1]."""
        return resize.clean(images.permute(0, 3, 1, 2), SIDE) / 127.5 - 1


def _model(network: Lpips) -> Any:
    from torchmetrics.functional.image.lpips import _LPIPS

    from hypersd.rewards.tensors import tensors

    path = network.path
    model = _LPIPS(net=network.net, pnet_rand=True)  # the heads' weights, not the backbone's
    held = tensors(path)
    try:  # torchvision's features.0 is slice1.0 there, and so on
        named = {name: held[f"features.{name.split('.', 1)[1]}"] for name in model.net.state_dict()}
        model.net.load_state_dict(named)
    except (KeyError, RuntimeError) as error:
        why = f"not the weights of {network.net} ({brief(error, 120)})"
        raise UsageError(f"{path}: {why}") from None
    return model.eval().requires_grad_(False)
