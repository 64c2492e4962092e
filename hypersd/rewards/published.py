"""Published rewards, for SD1.5 and SDXL: LAION's aesthetic predictor, CLIPs, ImageReward.

Resizing is bicubic with antialiasing, as Pillow's but in floating point, so that it has a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hypersd.errors import UsageError, brief
from hypersd.hub import local_file, local_folder
from hypersd.model_folder import cannot_load
from hypersd.rewards import affine, blip
from hypersd.rewards.options import Reward, RewardOptions
from hypersd.rewards.tensors import tensors

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's


def laion(options: RewardOptions, device: torch.device) -> Reward:
    """LAION's aesthetic predictor, about 1 to 10, on the unit embedding of a transformers CLIP.

    folder: the head's file.  clip: the CLIP's folder, OpenAI's ViT-L/14 for the published heads.
    """
    model, _ = _clip(options.clip, device)
    path = local_file(options.folder)
    try:
        head = affine.of_layers(tensors(path))
    except ValueError as error:
        raise UsageError(f"reward {path}: {error}") from None
    if len(head.w) != model.config.projection_dim:
        raise UsageError(f"reward {path}: for embeddings of {len(head.w)}, but {options.clip} has "
                         f"{model.config.projection_dim}")  # fmt: skip

    def rate(images: Tensor, prompts: Sequence[str]) -> Tensor:
        return head(_seen(model, images))

    return rate


def clip(options: RewardOptions, device: torch.device) -> Reward:
    """A hundred times the cosine of picture and prompt, of any transformers CLIP."""
    model, tokenizer = _clip(options.folder, device)
    length = model.config.text_config.max_position_embeddings

    def match(images: Tensor, prompts: Sequence[str]) -> Tensor:
        tokens = tokenizer(list(prompts), padding=True, truncation=True, max_length=length,
                           return_tensors="pt").to(device)  # fmt: skip
        read = model.text_model(**tokens).pooler_output
        text = F.normalize(model.text_projection(read), dim=-1)
        return 100 * (_seen(model, images) * text).sum(dim=-1)

    return match


def image_reward(options: RewardOptions, device: torch.device) -> Reward:
    """ImageReward, about a standard normal. folder: its file.  vocabulary: BERT's vocab.txt."""
    from tokenizers import BertWordPieceTokenizer

    path = local_file(options.folder)
    state = tensors(path)
    try:
        head = affine.of_layers(blip.below("mlp.", state))
        seeing = blip.vision(blip.below("blip.visual_encoder.", state)).to(device)
        reading = blip.text(blip.below("blip.text_encoder.", state)).to(device)
    except (KeyError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"reward {path}: not ImageReward's weights ({brief(error, 120)})"
        ) from None
    words_file = local_file(options.vocabulary)
    if not words_file.is_file():
        raise UsageError(f"reward {path}: vocabulary {options.vocabulary!r} is not there")
    tokenizer = BertWordPieceTokenizer(str(words_file), lowercase=True)
    tokenizer.enable_truncation(blip.TOKENS)
    tokenizer.enable_padding(length=blip.TOKENS)

    def judge(images: Tensor, prompts: Sequence[str]) -> Tensor:
        coded = tokenizer.encode_batch(list(prompts))
        ids = torch.tensor([one.ids for one in coded], device=device)
        mask = torch.tensor([one.attention_mask for one in coded], device=device)
        pixels = prepared(images, seeing.config.image_size)
        return blip.score(seeing, reading, head, pixels, ids, mask)

    return judge


def prepared(images: Tensor, side: int) -> Tensor:
    """Pictures [B, 3, H, W] in [-1, 1] as CLIP and BLIP take them, [B, 3, side, side]: the shorter
    side resized, the middle cropped, CLIP's mean and deviation."""
    height, width = images.shape[-2:]
    scale = side / min(height, width)
    size = (max(side, int(height * scale)), max(side, int(width * scale)))
    x = F.interpolate(images.float(), size, mode="bicubic", antialias=True).clamp(-1, 1)
    top, left = (round((n - side) / 2) for n in size)
    x = (x[..., top : top + side, left : left + side] + 1) / 2
    return (x - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)


def _clip(name: str, device: torch.device) -> tuple[Any, Any]:
    """A transformers CLIPModel in fp32, frozen, and its tokenizer."""
    from transformers import AutoTokenizer, CLIPModel

    folder = local_folder(name)
    loader: Any = CLIPModel
    try:
        model = loader.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # loaders of several parts raise many kinds
        raise UsageError(f"reward {name!r}: {cannot_load(folder, error)}") from None
    return model.to(device).eval().requires_grad_(False), tokenizer


def _seen(model: Any, images: Tensor) -> Tensor:
    """Unit embeddings of pictures, [B, D]."""
    pixels = prepared(images, model.config.vision_config.image_size)
    pooled = model.vision_model(pixel_values=pixels).pooler_output
    return F.normalize(model.visual_projection(pooled), dim=-1)
