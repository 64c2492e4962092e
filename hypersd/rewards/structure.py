"""The perceptual loss of feedback learning: an instance segmenter must find in a picture what is
in the real one (Hyper-SD, arXiv 2404.13686, Eq. 14)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor

from hypersd.errors import UsageError
from hypersd.hub import local_folder
from hypersd.shapes.segmenter import Instances, SegmenterNet, instance_loss, instances
from hypersd.shapes.weights import NAMES, weights_path
from hypersd.sources import KINDS


class Structure(Protocol):
    """What judges structure."""

    def loss(self, images: Tensor, real: Callable[[], Tensor], rows: Tensor) -> Tensor:
        """What is missed in pictures [B, 3, H, W] in [-1, 1]: [B], with gradient.

        real: gives the real pictures.  rows: which of the data they are, [B].
        """


class WorldStructure:
    """The world's segmenter and exact masks."""

    def __init__(self, net: SegmenterNet, truth: Instances, device: torch.device) -> None:
        self.net, self.truth, self.device = net.to(device), truth, device

    def loss(self, images: Tensor, real: Callable[[], Tensor], rows: Tensor) -> Tensor:
        """Focal loss of the categories and dice loss of the masks."""
        truth = self.truth.rows(rows)
        there = Instances(truth.where.to(self.device), truth.masks.to(self.device))
        focal, dice = instance_loss(self.net(images), there)
        return focal + dice


def load_structure(name: str, data: Mapping[str, Any], device: torch.device) -> Structure:
    """What judges structure: a Mask2Former of a folder or the hub (`hypersd.rewards.coco`), or the
    world's segmenter (a folder, or its name), with the exact masks of the recipe's data.

    Raises UsageError where it cannot be read, or the world's is asked about other pictures.
    """
    folder = weights_path(name) if name in NAMES else local_folder(name)
    if (folder / "config.json").is_file():
        from hypersd.rewards.coco import CocoStructure

        return CocoStructure(folder, device)
    if any(kind in data for kind in KINDS):
        raise UsageError(f"segmenter {name}: the world's, which knows no real pictures; valid: the "
                         "folder of a Mask2FormerForUniversalSegmentation")  # fmt: skip
    return WorldStructure(world_segmenter(folder), instances("train", 0, data["n"]), device)


def world_segmenter(folder: Path) -> SegmenterNet:
    """The trained segmenter of a folder, frozen. Raises UsageError where it cannot be read."""
    path = folder / "model.safetensors"
    try:
        state = load_file(path)
        net = SegmenterNet(len(state["stem.0.1.weight"]) * 2)
        net.load_state_dict(state)
    except Exception as error:  # a damaged file raises many kinds
        raise UsageError(f"segmenter {path}: {str(error).splitlines()[0]}") from None
    return net.float().eval().requires_grad_(False)
