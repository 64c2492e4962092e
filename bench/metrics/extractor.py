"""Extractors: uint8 pictures -> features, one row each, once per image.

One extractor per network, not per metric: `clip` and `aesthetic` read the same image embedding.
A network is loaded at the first call; an identity needs only the weights' checksum. An extractor's
name says kind and settings (`bench.metrics.networks`), and features are kept under it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import UsageError
from bench.metrics import networks
from bench.metrics.base import Features
from bench.metrics.networks.base import Network, loaded, make_room

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NetworkExtractor:
    """One network on one device, loaded at its first call."""

    network: Network
    device: str

    @property
    def name(self) -> str:
        return self.network.name

    @cached_property
    def identity(self) -> str:
        return self.network.identity

    @property
    def partial(self) -> bool:
        """Whether columns other than the first may be nan."""
        return self.network.partial

    def __call__(self, images: Any, prompts: Sequence[str]) -> Features:
        """[B, D] fp32 of uint8 images [B, H, W, 3] and their B prompts.

        Raises ValueError for another type or shape, UsageError where the network that was loaded is
        not that of `identity`.
        """
        import torch

        batch = self._batch(images)
        if len(prompts) != len(batch):
            raise ValueError(f"{len(batch)} images but {len(prompts)} prompts")
        with torch.inference_mode():
            out = self._with_room(lambda: self._loaded()(batch, list(prompts)))
        features: Features = torch.as_tensor(out).float().cpu().numpy()
        return features

    def between(self, images: Any, others: Any) -> Features:
        """[B, 1] fp32: distances of images from others, uint8 [B, H, W, 3] both, one by one, of a
        network that compares. Raises ValueError for another type or shape."""
        import torch

        one, other = self._batch(images), self._batch(others)
        with torch.inference_mode():
            found = self._with_room(lambda: self._loaded().between(one, other))
        features: Features = found.float().cpu().numpy()
        return features

    def _with_room(self, look: Callable[[], Any]) -> Any:
        """The network's output; after an out-of-memory error tried again with the other networks
        off the device."""
        import torch

        try:
            return look()
        except torch.OutOfMemoryError:
            if not make_room(self.device, but=self.network):
                raise
        return look()

    def _loaded(self) -> Any:
        named, found = self.identity, loaded(self.network, self.device)
        if self._identity_when_loaded != named:
            raise UsageError(changed(self.name))
        return found

    @cached_property
    def _identity_when_loaded(self) -> str:
        return self.network.identity

    def _batch(self, images: Any) -> Tensor:
        import torch

        held = np.ascontiguousarray(images) if isinstance(images, np.ndarray) else images
        batch = torch.as_tensor(held)
        if batch.dtype != torch.uint8 or batch.ndim != 4 or batch.shape[-1] != 3:
            raise ValueError(f"need uint8 [B, H, W, 3], got {batch.dtype} {tuple(batch.shape)}")
        return batch.to(self.device)


def changed(name: str) -> str:
    """The error for an evaluator whose files changed after the run was planned."""
    return f"{name}: its files have changed since the run began; start it again"


def extractor(name: str, device: str = "cpu") -> NetworkExtractor:
    """The extractor of a name ("shapes_clip", "open_clip?model=ViT-L-14"), shared by its users.

    device: as torch names it.  Raises UsageError for an unknown name.
    """
    return NetworkExtractor(networks.by_name(name), device)
