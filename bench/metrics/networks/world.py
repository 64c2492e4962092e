"""The shapes world's own networks: pictures of 64 x 64 pixels, weights that ship with the project.

`shapes_perceptual` is the world's stand-in for LPIPS, the same distance through its own features:

    d(x, y) = sum over layers of mean over places of |x_l / |x_l| - y_l / |y_l||^2

over the blocks of the network under the Frechet distance. Nobody's judgement of likeness went into
it, so every layer counts the same (LPIPS learned that from people).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from bench.metrics.base import Features
from bench.metrics.networks.base import Network, TextNetwork

if TYPE_CHECKING:
    from torch import Tensor

    from hypersd.shapes.clip_model import ClipModel

TINY = 1e-8  # as torchmetrics' LPIPS adds to a squared length


class ShapesNetwork(Network):
    """shipped: what its weights are called.  output: what its features are."""

    shipped: ClassVar[str] = ""
    output: ClassVar[str] = ""

    @property
    def identity(self) -> str:
        """Kind, hash of the weights, input and output; no network is loaded.

        Raises UsageError where the weights are missing.
        """
        from hypersd.shapes.weights import weights_sha256

        checksum = weights_sha256(self.shipped)[:12]
        return f"{self.kind}/1;weights={checksum};input=uint8 64x64 RGB;output={self.output}"


class ShapesClip(ShapesNetwork, TextNetwork):
    """`clip`: CLIP trained on captions; no trainer uses it."""

    kind: ClassVar[str] = "shapes_clip"
    shipped: ClassVar[str] = "clip"
    output: ClassVar[str] = "unit image embedding"

    def build(self, device: str) -> Any:
        """The pictures' side."""
        model = _clip_model(self.shipped, device)
        return lambda images, prompts: model.encode_image(images)

    def embedded(self, texts: list[str]) -> Features:
        """Unit embeddings [B, D], fp32, always on the CPU: pictures' features may be kept ones."""
        found: Features = _clip_model(self.shipped, "cpu").encode_text(texts).float().numpy()
        return found

    def cut(self, texts: list[str]) -> list[bool]:
        """Whether each text is longer than the model's context."""
        model = _clip_model(self.shipped, "cpu")
        return [model.truncated([text]) > 0 for text in texts]


class ShapesHps(ShapesClip):
    """CLIP tuned on the votes of raters; like its two neighbours' theirs are a pool of their own
    (`hypersd.shapes.raters.POOLS`)."""

    kind: ClassVar[str] = "shapes_hps"
    shipped: ClassVar[str] = "hps"


class ShapesImageReward(ShapesClip):
    """One of the two rewards of feedback learning."""

    kind: ClassVar[str] = "shapes_image_reward"
    shipped: ClassVar[str] = "image_reward"


class ShapesPick(ShapesClip):
    """Its raters are in no reward."""

    kind: ClassVar[str] = "shapes_pick"
    shipped: ClassVar[str] = "pick"


class ShapesFeatures(ShapesNetwork):
    """Things, sizes, count, relation, background and style of a picture."""

    kind: ClassVar[str] = "shapes_features"
    shipped: ClassVar[str] = "features"
    output: ClassVar[str] = "64 features"

    def build(self, device: str) -> Any:
        """The network, fp32. Raises UsageError where its weights are damaged."""
        from hypersd.shapes.evaluators import load_features

        network = load_features(device)
        return lambda images, prompts: network(images)


class ShapesOracle(ShapesNetwork):
    """Whether each attribute that a prompt asks for is right."""

    kind: ClassVar[str] = "shapes_oracle"
    partial: ClassVar[bool] = True
    shipped: ClassVar[str] = "oracle"
    output: ClassVar[str] = "right,shape,colour,size,relation,count"

    def build(self, device: str) -> Any:
        """The oracle, fp32. Raises UsageError where its weights are damaged."""
        from hypersd.shapes.evaluators import load_oracle

        oracle = load_oracle(device=device)
        return lambda images, prompts: oracle.judge(images, prompts)


@dataclass(frozen=True)
class ShapesPerceptual(ShapesNetwork):
    """against: identity of the contestant that others are compared with."""

    kind: ClassVar[str] = "shapes_perceptual"
    shipped: ClassVar[str] = "features"
    output: ClassVar[str] = "distance"
    against: str = ""

    @property
    def identity(self) -> str:
        """Weights, input, output, and whose pictures are the other ones."""
        return f"{super().identity};teacher={self.against}"

    def build(self, device: str) -> PerceptualNetwork:
        """The network, fp32. Raises UsageError where its weights are damaged."""
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


@cache
def _clip_model(name: str, device: str) -> ClipModel:
    """Kept for both sides on one device."""
    from hypersd.shapes.evaluators import load_clip

    return load_clip(name, device)
