"""The perceptual loss on real pictures: what Mask2Former finds in a picture must be what it finds
in the real one (Cheng et al. 2022, arXiv 2112.01527; transformers' network, trained on COCO).

# Differs from Hyper-SD (arXiv 2404.13686, Eq. 14): Mask2Former in SOLO's place, and its own
# findings in the real picture in the place of COCO's annotations, so that any data set will do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hypersd.errors import UsageError
from hypersd.model_folder import cannot_load

SURE = 0.5  # of an instance of the real picture, to be asked for
POINTS_SEED = 0  # its loss compares masks at random points, here always the same ones


class CocoStructure:
    """A frozen Mask2Former as a `hypersd.rewards.structure.Structure`."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor

        loader: Any = Mask2FormerForUniversalSegmentation
        try:
            net = loader.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
            settings = json.loads((folder / "preprocessor_config.json").read_bytes())
            self.mean, self.std = settings["image_mean"], settings["image_std"]
            self.side = _side(settings["size"])
        except Exception as error:  # the loader raises many kinds
            raise UsageError(f"segmenter {folder}: {cannot_load(folder, error)}") from None
        self.net: Any = net.to(device).eval().requires_grad_(False)
        # The library's own takes the mean over all processes, and waits for them.
        self.net.criterion.get_num_masks = _count
        self.reader: Any = Mask2FormerImageProcessor()

    def loss(self, images: Tensor, real: Callable[[], Tensor], rows: Tensor) -> Tensor:
        """The network's own loss (class, mask and dice, at every layer) to its findings in the real
        pictures, [B]; 0 where nothing is found there."""
        with torch.no_grad():
            truth = self.found(real())
        return torch.stack([self._one(image, *t) for image, t in zip(images, truth, strict=True)])

    def found(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each picture the masks, [n, h, w], and the categories, [n], above the threshold."""
        outputs = self.net(self.prepared(images))
        sizes = [tuple(outputs.masks_queries_logits.shape[-2:])] * len(images)
        results = self.reader.post_process_instance_segmentation(
            outputs, threshold=SURE, target_sizes=sizes, return_binary_maps=True
        )
        none = torch.zeros((0, *sizes[0]), device=images.device)
        return [
            (r["segmentation"].to(images) if r["segments_info"] else none,
             torch.tensor([one["label_id"] for one in r["segments_info"]], dtype=torch.long,
                          device=images.device))
            for r in results
        ]  # fmt: skip

    def prepared(self, images: Tensor) -> Tensor:
        """Pictures in [-1, 1] as the network takes them: [B, 3, side, side], its mean and std."""
        x = F.interpolate(images.float(), (self.side,) * 2, mode="bilinear", antialias=True)
        mean, std = (x.new_tensor(v).view(3, 1, 1) for v in (self.mean, self.std))
        return ((x + 1) / 2 - mean) / std

    def _one(self, image: Tensor, masks: Tensor, categories: Tensor) -> Tensor:
        if not len(categories):
            return image.sum() * 0.0
        devices = [image.device] if image.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(POINTS_SEED)
            found: Tensor = self.net(
                self.prepared(image[None]), mask_labels=[masks], class_labels=[categories]
            ).loss
        return found.squeeze()


def _side(size: dict[str, int]) -> int:
    """The side that a square picture is resized to."""
    return int(size.get("shortest_edge") or size["height"])


def _count(class_labels: list[Tensor], device: torch.device) -> Tensor:
    return torch.tensor(float(max(1, sum(map(len, class_labels)))), device=device)
