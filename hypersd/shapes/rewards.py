"""The embedded world's rewards, named in `hypersd.rewards`: an aesthetic head on its CLIP, CLIPs
tuned on choices, and the segmenter that judges structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer

from hypersd.errors import UsageError
from hypersd.model_folder import cannot_load
from hypersd.pictures import to_uint8
from hypersd.rewards.options import Reward, RewardOptions
from hypersd.shapes.aesthetic_head import AestheticHead
from hypersd.shapes.clip_model import encode_text, load, token_ids, trimmed
from hypersd.shapes.evaluators import load_oracle
from hypersd.shapes.oracle import COLUMNS
from hypersd.shapes.segmenter import Instances, SegmenterNet, instance_loss, instances
from hypersd.shapes.weights import located
from hypersd.sources import SOURCES


def aesthetic(options: RewardOptions, device: torch.device) -> Reward:
    """The rating, 1 to 10, that a head gives a CLIP's embedding of the picture."""
    model = _open_clip(located(options.clip), device)
    head = AestheticHead(model.text_projection.shape[1])
    _load(head, located(options.folder) / "model.safetensors")
    head = head.to(device).eval().requires_grad_(False)

    def rate(images: Tensor, prompts: Sequence[str]) -> Tensor:
        rating: Tensor = head(model.encode_image(images, normalize=True))
        return rating

    return rate


def preference(options: RewardOptions, device: torch.device) -> Reward:
    """A hundred times the cosine of picture and prompt, of a CLIP tuned on people's choices."""
    folder = located(options.folder)
    model = _open_clip(folder, device)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def prefer(images: Tensor, prompts: Sequence[str]) -> Tensor:
        ids = trimmed(token_ids(tokenizer, list(prompts)), model.text_eos_id).to(device)
        text = encode_text(model, ids)
        score: Tensor = 100 * (model.encode_image(images, normalize=True) * text).sum(dim=-1)
        return score

    return prefer


def faithful(options: RewardOptions, device: torch.device) -> Reward:
    """1 if the validation oracle finds everything that the prompt asks for, else 0; no gradient."""
    oracle = load_oracle(options.folder, device)
    column = COLUMNS.index("right")

    def judge(images: Tensor, prompts: Sequence[str]) -> Tensor:
        shown = to_uint8(images)
        return torch.from_numpy(oracle.judge(shown, list(prompts))[:, column])

    return judge


class ShapesStructure:
    """The world's segmenter and exact masks, as a `hypersd.rewards.structure.Structure`."""

    def __init__(self, net: SegmenterNet, truth: Instances, device: torch.device) -> None:
        self.net, self.truth, self.device = net.to(device), truth, device

    def loss(self, images: Tensor, real: Callable[[], Tensor], rows: Tensor) -> Tensor:
        """Focal loss of the categories and dice loss of the masks."""
        truth = self.truth.rows(rows)
        there = Instances(truth.where.to(self.device), truth.masks.to(self.device))
        focal, dice = instance_loss(self.net(images), there)
        return focal + dice


def structure(folder: Path, data: Mapping[str, Any], device: torch.device) -> ShapesStructure:
    """The segmenter of a folder or of that name, and the masks of a recipe's data.

    Raises UsageError where it cannot be read, or the data are no scenes.
    """
    if any(kind in data for kind in SOURCES):
        raise UsageError(f"segmenter {folder}: the world's, not trained on real pictures; "
                         "valid: the folder of a Mask2FormerForUniversalSegmentation")  # fmt: skip
    return ShapesStructure(
        segmenter(located(str(folder))), instances("train", 0, data["n"]), device
    )


def segmenter(folder: Path) -> SegmenterNet:
    """The trained segmenter of a folder, frozen. Raises UsageError where it cannot be read."""
    path = folder / "model.safetensors"
    try:
        state = load_file(path)
        net = SegmenterNet(len(state["stem.0.1.weight"]) * 2)
        net.load_state_dict(state)
    except Exception as error:  # a damaged file raises many kinds
        raise UsageError(f"segmenter {folder}: {cannot_load(folder, error)}") from None
    return net.float().eval().requires_grad_(False)


def _open_clip(folder: Path, device: torch.device) -> Any:
    try:
        model = load(folder)
    except Exception as error:  # its loader raises many kinds
        raise UsageError(f"reward {folder}: {cannot_load(folder, error)}") from None
    return model.to(device).eval().requires_grad_(False)


def _load(module: torch.nn.Module, path: Path) -> None:
    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UsageError(f"reward {path.parent}: {cannot_load(path.parent, error)}") from None
