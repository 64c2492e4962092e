"""Inception v3 of FID (TensorFlow's graph of 2015-12-05): 2,048 features under `fid` and `kid`.

The network's blocks are clean-fid's; the weights are a plain state dict (pytorch-fid's release),
so that no TorchScript code is loaded. What is put in front of it is a choice of its own: clean-fid
resizes well and everybody else differently, which moves FID by points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError, brief, nearest
from bench.metrics import resize
from bench.metrics.networks.base import Network
from bench.metrics.networks.placement import Movable

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 299
RELEASE = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth#sha256=6726825d"
)


@dataclass(frozen=True)
class Inception(Network):
    """resize: one of RESIZES.  weights: a source."""

    kind: ClassVar[str] = "inception"
    resize: str = "clean"
    weights: str = RELEASE

    @property
    def label(self) -> str:
        """For file names."""
        return f"{self.kind}-{self.resize}"

    @property
    def least(self) -> int:
        """Of a patch, which is cut out of the picture, its side."""
        return SIDE if self.resize == "patch" else 1

    @property
    def sources(self) -> tuple[str, ...]:
        """The one file."""
        return (self.weights,)

    @property
    def about(self) -> str:
        """Input and output; the architecture is the kind."""
        if self.resize not in RESIZES:
            raise UsageError(f"{self.kind}: resize={self.resize}; {nearest(self.resize, RESIZES)}")
        return f"input={self.resize};output=2048 features"

    def build(self, device: str) -> InceptionNetwork:
        """The network in fp32. Raises UsageError for other weights."""
        return InceptionNetwork(self, device)


def patches(resize: str = "patch", weights: str = RELEASE) -> Inception:
    """The network for patches: the middle 299 pixels, not resized, so that fine detail counts."""
    return Inception(resize, weights)


class InceptionNetwork(Movable):
    """A loaded Inception."""

    def __init__(self, network: Inception, device: str) -> None:
        from hypersd.rewards.tensors import tensors

        self.prepare = RESIZES[network.resize]
        path = network.path
        model = architecture()
        try:
            model.load_state_dict(tensors(path))
        except (RuntimeError, KeyError) as error:
            raise UsageError(f"{path}: not Inception's weights ({brief(error, 120)})") from None
        model.fc = _identity()  # features before the classifier
        self.model = _faster(model.eval().requires_grad_(False))
        self.to(device)

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """[B, 2048] of uint8 [B, H, W, 3]."""
        import torch

        del prompts
        # TensorFloat-32 convolutions, cuDNN's default, move features in the third digit. `enabled`
        # is False unless given, which would leave convolutions to torch's own, slower kernels.
        cudnn = torch.backends.cudnn
        with cudnn.flags(enabled=cudnn.enabled, benchmark=cudnn.benchmark, allow_tf32=False):
            found: Tensor = self.model(self.prepare(images.permute(0, 3, 1, 2)))
        return found


def architecture() -> Any:
    """torchvision's Inception v3 with the blocks that FID's graph has otherwise."""
    import torchvision
    from cleanfid import inception_pytorch as of_fid

    # aux_logits and init_weights: neither the head of training nor a slow initialisation.
    model = torchvision.models.inception_v3(
        weights=None, num_classes=1008, aux_logits=False, init_weights=False
    )
    model.Mixed_5b = of_fid.FIDInceptionA(192, pool_features=32)
    model.Mixed_5c = of_fid.FIDInceptionA(256, pool_features=64)
    model.Mixed_5d = of_fid.FIDInceptionA(288, pool_features=64)
    for name, channels in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
        setattr(model, f"Mixed_6{name}", of_fid.FIDInceptionC(768, channels_7x7=channels))
    model.Mixed_7b = of_fid.FIDInceptionE_1(1280)
    model.Mixed_7c = of_fid.FIDInceptionE_2(2048)
    return model


def _faster(model: Any) -> Any:
    """The same function but for rounding: normalisations folded into the convolutions before them,
    and the memory order in which these are fastest."""
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval
    from torchvision.models.inception import BasicConv2d

    for module in model.modules():
        if isinstance(module, BasicConv2d):
            module.conv, module.bn = fuse_conv_bn_eval(module.conv, module.bn), _identity()
    return model.to(memory_format=torch.channels_last)


def _identity() -> Any:
    from torch import nn

    return nn.Identity()


def _clean(x: Tensor) -> Tensor:
    return (resize.clean(x, SIDE) - 128) / 128


def _patch(x: Tensor) -> Tensor:
    return (resize.centre(x, SIDE).float() - 128) / 128


def _pytorch_fid(x: Tensor) -> Tensor:
    from torch.nn.functional import interpolate

    small = interpolate(x.float() / 255, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return 2 * small - 1


def _lanczos_512(x: Tensor) -> Tensor:
    square = resize.centre(x, min(x.shape[-2:]))
    return _clean(resize.resized(square, 512, 512, kernel="lanczos", rounded=True))


RESIZES: dict[str, Callable[[Any], Any]] = {
    "clean": _clean,  # clean-fid: bicubic with a widened window on floats
    "patch": _patch,  # 299 x 299 cut out of the middle, not resized: detail (Lightning, DMD2)
    "pytorch_fid": _pytorch_fid,  # bilinear without a widened window (pytorch-fid, MLPerf)
    "lanczos_512": _lanczos_512,  # DMD2's evaluation: to 512 x 512, then clean-fid
}
