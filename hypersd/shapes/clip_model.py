"""The world's CLIP: pictures and texts -> embeddings. `hypersd.shapes.clip` trains it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F

from hypersd.pictures import to_unit
from hypersd.shapes import tower  # noqa: F401  timm builds the picture tower by its name

CONTEXT = 36


class ClipModel:
    """An open_clip model of the world with its tokenizer; embeddings are L2-normalised fp32."""

    def __init__(self, model: open_clip.CLIP, tokenizer: Any, device: torch.device | str) -> None:
        self.model, self.tokenizer, self.device = model.to(device).eval(), tokenizer, device

    @torch.no_grad()
    def encode_image(self, images: Any) -> Tensor:
        """uint8 [B, 64, 64, 3] -> [B, D]."""
        return F.normalize(self.model.encode_image(to_unit(images, self.device)), dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> [B, D]; what is longer than the model's context is cut, its end token kept."""
        ids = trimmed(token_ids(self.tokenizer, list(texts)), self.model.text_eos_id)
        return encode_text(self.model, ids.to(self.device))

    def truncated(self, texts: Sequence[str]) -> int:
        """How many texts are longer than the model's context."""
        return sum(len(ids) > CONTEXT for ids in self.tokenizer(list(texts)).input_ids)


def build(cfg: dict[str, Any]) -> open_clip.CLIP:
    """An untrained model of a config."""
    return open_clip.CLIP(**cfg)


def load(folder: Path | str) -> open_clip.CLIP:
    """The trained model of a folder that `save` wrote, fp32. Raises what its loader does."""
    return open_clip.create_model(f"local-dir:{folder}", precision="fp32")


def token_ids(tokenizer: Any, said: list[str]) -> Tensor:
    """[B, CONTEXT] int64; what is too long is cut, the end token kept."""
    options = {"padding": "max_length", "truncation": True, "max_length": CONTEXT}
    ids: Tensor = tokenizer(said, return_tensors="pt", **options).input_ids
    return ids


def encode_text(model: open_clip.CLIP, ids: Tensor) -> Tensor:
    """Normalised text embeddings [B, D] of ids [B, L], L at most CONTEXT."""
    return F.normalize(pooled_text(model, ids), dim=-1)


def pooled_text(model: open_clip.CLIP, ids: Tensor) -> Tensor:
    """Text embeddings, not normalised: equal to open_clip's own `encode_text`, without the padding,
    since under a causal mask nothing after the end token reaches it."""
    length = ids.shape[1]
    x = model.token_embedding(ids) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    ends = (ids == model.text_eos_id).int().argmax(dim=1)
    pooled = x[torch.arange(len(ids), device=ids.device), ends]
    projected: Tensor = pooled @ model.text_projection
    return projected


def trimmed(ids: Tensor, end: int) -> Tensor:
    """Token ids [..., L] without the columns that are padding in every row."""
    return ids[..., : int((ids != end).sum(-1).max()) + 1]
