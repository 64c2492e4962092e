"""Differentiable scorers of pictures, for feedback learning.

A reward is a function of pictures, float [B, 3, H, W] in [-1, 1], and prompts; it gives [B], larger
is better. Its networks are frozen; gradients go to the pictures. A reward that has been trained on
is no evidence: every metric of every contestant says what its method was `trained_on`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer

from hypersd.errors import UsageError, nearest
from hypersd.shapes.aesthetic import AestheticHead
from hypersd.shapes.clip import encode_text, load, token_ids, trimmed

Reward = Callable[[Tensor, Sequence[str]], Tensor]


@dataclass(frozen=True)
class RewardOptions:
    """One entry of a recipe's `rewards`.

    kind: a key of KINDS.  folder: of the trained head or preference model.  clip: folder of the
    CLIP that an aesthetic head stands on.  target: alpha_d of the hinge ReLU(alpha_d - r_d), in the
    reward's unit.  weight: of that hinge.
    """

    kind: str
    folder: str
    target: float
    weight: float = 1.0
    clip: str = ""


def aesthetic(options: RewardOptions, device: torch.device) -> Reward:
    """The rating, 1 to 10, that a head gives a CLIP's embedding of the picture."""
    model = _open_clip(options.clip, device)
    head = AestheticHead(model.text_projection.shape[1])
    _load(head, Path(options.folder) / "model.safetensors")
    head = head.to(device).eval().requires_grad_(False)

    def rate(images: Tensor, prompts: Sequence[str]) -> Tensor:
        rating: Tensor = head(model.encode_image(images, normalize=True))
        return rating

    return rate


def preference(options: RewardOptions, device: torch.device) -> Reward:
    """A hundred times the cosine of picture and prompt, of a CLIP tuned on people's choices."""
    model = _open_clip(options.folder, device)
    tokenizer = AutoTokenizer.from_pretrained(options.folder, local_files_only=True)

    def prefer(images: Tensor, prompts: Sequence[str]) -> Tensor:
        ids = trimmed(token_ids(tokenizer, list(prompts)), model.text_eos_id).to(device)
        text = encode_text(model, ids)
        score: Tensor = 100 * (model.encode_image(images, normalize=True) * text).sum(dim=-1)
        return score

    return prefer


KINDS: dict[str, Callable[[RewardOptions, torch.device], Reward]] = {
    "aesthetic": aesthetic,
    "preference": preference,
}


def read_rewards(where: str, given: Any) -> list[RewardOptions]:
    """A recipe's `rewards`, a list of mappings. Raises UsageError for what is not valid."""
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        raise UsageError(f"{where}={given!r}; valid: a list of {{kind, folder, target, ...}}")
    fields = RewardOptions.__dataclass_fields__
    for i, entry in enumerate(given):
        for key in entry:
            if key not in fields:
                raise UsageError(f"{where}[{i}]: unknown key {key!r}; {nearest(str(key), fields)}")
        for key in ("kind", "folder", "target"):
            if key not in entry:
                raise UsageError(f"{where}[{i}]: {key!r} is missing")
        if entry["kind"] not in KINDS:
            raise UsageError(f"{where}[{i}].kind: {nearest(str(entry['kind']), KINDS)}")
        for key in ("target", "weight"):
            if not isinstance(entry.get(key, 0.0), int | float):
                raise UsageError(f"{where}[{i}].{key}={entry[key]!r}; valid: a number")
    return [RewardOptions(**entry) for entry in given]


def load_reward(options: RewardOptions, device: torch.device) -> Reward:
    """The reward that an entry names. Raises UsageError where its weights cannot be read."""
    return KINDS[options.kind](options, device)


def hinge(reward: Tensor, target: float) -> Tensor:
    """ReLU(target - reward), [B]: a picture that is good enough is left alone.

    Source: Hyper-SD (arXiv 2404.13686), Eq. 13.
    """
    return F.relu(target - reward.float())


def _open_clip(folder: str, device: torch.device) -> Any:
    try:
        model = load(folder)
    except Exception as error:  # its loader raises many kinds
        raise UsageError(f"reward {folder!r}: {str(error).splitlines()[0]}") from None
    return model.to(device).eval().requires_grad_(False)


def _load(module: torch.nn.Module, path: Path) -> None:
    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UsageError(f"reward {path}: {str(error).splitlines()[0]}") from None
