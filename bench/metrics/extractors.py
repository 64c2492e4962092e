"""The networks that images pass through once: uint8 pictures -> features, one row each.

One extractor per tower, not per metric: `clip` and `aesthetic` read the same image embedding.
Networks are loaded at the first call; an identity needs only the weights' checksum. The world's
own have a name each; of a published one the name says kind and settings (`towers/base.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import numpy as np

from bench.errors import UsageError, nearest
from bench.metrics.base import Features
from bench.metrics.networks.base import Tower as Published
from bench.metrics.networks.base import loaded

if TYPE_CHECKING:
    from torch import Tensor

Network = Callable[["Tensor", list[str]], Any]
"""(uint8 [B, H, W, 3], B prompts) -> [B, D], tensor or array."""


@dataclass(frozen=True)
class Tower:
    """What an extractor runs: weights by name, what goes in and comes out, and its loader.

    partial: a column but the first is nan where a prompt does not ask for it.
    """

    weights: str
    output: str
    load: Callable[[str], Network]
    partial: bool = False


def _image_tower(weights: str, device: str) -> Network:
    model = clip_model(weights, device)
    return lambda images, prompts: model.encode_image(images)


def _of_clip(weights: str) -> Tower:
    """The picture side of one of the world's CLIP models."""
    return Tower(weights, "unit image embedding", partial(_image_tower, weights))


@cache
def clip_model(weights: str, device: str) -> Any:
    """One of the world's open_clip models ("clip", "hps", "image_reward", "pick"), kept for the
    next caller on the same device."""
    from hypersd.shapes.evaluators import load_clip

    return load_clip(weights, device)


def _features(device: str) -> Network:
    from hypersd.shapes.evaluators import load_features

    network = load_features(device)
    return lambda images, prompts: network(images)


def _oracle(device: str) -> Network:
    from hypersd.shapes.evaluators import load_oracle

    oracle = load_oracle(device=device)
    return lambda images, prompts: oracle.judge(images, prompts)


TOWERS = {
    **{f"shapes_{name}": _of_clip(name) for name in ("clip", "hps", "image_reward", "pick")},
    "shapes_features": Tower("features", "64 features", _features),
    "shapes_oracle": Tower("oracle", "right,shape,colour,size,relation,count", _oracle, True),
}


def identity(name: str) -> str:
    """Tower, sha256 of its weights, preprocessing and output, without loading the network.

    Raises UsageError for an unknown name or where the weights are missing.
    """
    from hypersd.shapes.weights import weights_sha256

    tower = _tower(name)
    if isinstance(tower, Published):
        return tower.identity
    checksum = weights_sha256(tower.weights)[:12]
    return f"{name}/1;weights={checksum};input=uint8 64x64 RGB;output={tower.output}"


def _tower(name: str) -> Tower | Published:
    if name in TOWERS:
        return TOWERS[name]
    from bench.metrics.published import KINDS

    kind, _, settings = name.partition("?")
    if kind not in KINDS:
        raise UsageError(f"no feature extractor {name!r}; {nearest(kind, [*TOWERS, *KINDS])}")
    return KINDS[kind](**dict(parse_qsl(settings)))


@dataclass(frozen=True)
class TowerExtractor:
    """One tower on one device, loaded at its first call."""

    name: str
    device: str

    @cached_property
    def identity(self) -> str:
        return identity(self.name)

    @property
    def partial(self) -> bool:
        """Whether columns but the first may be nan."""
        tower = _tower(self.name)
        return isinstance(tower, Tower) and tower.partial

    @cached_property
    def _network(self) -> Network:
        tower = _tower(self.name)
        if isinstance(tower, Published):
            network: Network = loaded(tower, self.device)
            return network
        return tower.load(self.device)

    def __call__(self, images: Any, prompts: Sequence[str]) -> Features:
        """[B, D] fp32 of uint8 images [B, H, W, 3] and their B prompts.

        Raises ValueError for another type or shape.
        """
        import torch

        batch = self._batch(images)
        if len(prompts) != len(batch):
            raise ValueError(f"{len(batch)} images but {len(prompts)} prompts")
        with torch.inference_mode():
            out = self._network(batch, list(prompts))
        features: Features = torch.as_tensor(out).float().cpu().numpy()
        return features

    def between(self, images: Any, others: Any) -> Features:
        """[B, 1] fp32: distances of images from others, uint8 [B, H, W, 3] both, one by one, of a
        tower that compares. Raises ValueError for another type or shape."""
        import torch

        network: Any = self._network
        one, other = self._batch(images), self._batch(others)
        with torch.inference_mode():
            features: Features = network.between(one, other).float().cpu().numpy()
        return features

    def _batch(self, images: Any) -> Tensor:
        import torch

        batch = torch.as_tensor(np.ascontiguousarray(images) if _is_array(images) else images)
        if batch.dtype != torch.uint8 or batch.ndim != 4 or batch.shape[-1] != 3:
            raise ValueError(f"need uint8 [B, H, W, 3], got {batch.dtype} {tuple(batch.shape)}")
        return batch.to(self.device)


def _is_array(images: Any) -> bool:
    return isinstance(images, np.ndarray)


def extractor(name: str, device: str = "cpu") -> TowerExtractor:
    """The extractor of a name ("shapes_clip", "open_clip?model=ViT-L-14"), shared by its users.

    device: as torch names it.  Raises UsageError for an unknown name.
    """
    _tower(name)
    return TowerExtractor(name, device)
