"""The perceptual loss of feedback learning: an instance segmenter must find in a picture what is
in the real one (Hyper-SD, arXiv 2404.13686, Eq. 14)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any, Protocol

import torch
from torch import Tensor

from hypersd.hub import local_folder

WORLD = "hypersd.shapes.rewards:structure"  # of a folder that is no transformers model


class Structure(Protocol):
    """A judge of structure."""

    def loss(self, images: Tensor, real: Callable[[], Tensor], rows: Tensor) -> Tensor:
        """The loss for what pictures [B, 3, H, W] in [-1, 1] lack: [B], with gradient.

        real: gives the real pictures.  rows: which of the data they are, [B].
        """


def load_structure(name: str, data: Mapping[str, Any], device: torch.device) -> Structure:
    """The judge of structure: a Mask2Former of a folder or the hub (`hypersd.rewards.coco`), or the
    world's segmenter (a folder, or its name), with the exact masks of the recipe's data.

    Raises UsageError where it cannot be read, or the world's is asked about other pictures.
    """
    folder = local_folder(name)
    if (folder / "config.json").is_file():
        from hypersd.rewards.coco import CocoStructure

        return CocoStructure(folder, device)
    structure: Structure = resolve_name(WORLD)(folder, data, device)
    return structure
