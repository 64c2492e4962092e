"""ImageReward's two BLIP networks (Xu et al. 2023, arXiv 2304.05977) in transformers' classes.

The published file's names are mapped to theirs. Sizes are read off the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

TOKENS = 35  # prompts are cut there
SCORE_MEAN, SCORE_STD = 0.16717362830052426, 1.0333394966054072  # image-reward 1.5
HEAD_WIDTH = 64  # of every attention head in ViT-L and BERT-base
PATCH = 16
_RENAMED = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.(\d+)\.norm([12])\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.attn\.", r"encoder.layers.\1.self_attn."),
    (r"^blocks\.(\d+)\.", r"encoder.layers.\1."),
)


def below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights whose names begin so, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def vision(state: dict[str, Tensor]) -> Any:
    """The picture encoder, a BlipVisionModel, frozen. Raises KeyError or RuntimeError for weights
    that are not its."""
    from transformers import BlipVisionConfig, BlipVisionModel

    positions, width = state["pos_embed"].shape[1:]
    config = BlipVisionConfig(
        hidden_size=width,
        intermediate_size=len(state["blocks.0.mlp.fc1.weight"]),
        num_hidden_layers=_layers(state, r"blocks\.(\d+)\."),
        num_attention_heads=max(1, width // HEAD_WIDTH),
        image_size=round((positions - 1) ** 0.5) * PATCH,
        patch_size=PATCH,
        layer_norm_eps=1e-6,  # BLIP's; transformers' default is 1e-5
    )
    return _filled(BlipVisionModel(config), {_renamed(name): v for name, v in state.items()})


def text(state: dict[str, Tensor]) -> Any:
    """The text encoder with attention to the picture in every layer, a BlipTextModel, frozen.

    Raises KeyError or RuntimeError for weights that are not its.
    """
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    words, width = state["embeddings.word_embeddings.weight"].shape
    config = BlipTextConfig(
        vocab_size=words,
        hidden_size=width,
        encoder_hidden_size=state["encoder.layer.0.crossattention.self.key.weight"].shape[1],
        intermediate_size=len(state["encoder.layer.0.intermediate.dense.weight"]),
        num_hidden_layers=_layers(state, r"encoder\.layer\.(\d+)\."),
        num_attention_heads=max(1, width // HEAD_WIDTH),
        max_position_embeddings=len(state["embeddings.position_embeddings.weight"]),
        layer_norm_eps=1e-12,
        is_decoder=True,  # makes the layers that attend to the picture; the mask stays two-sided
    )
    given = {name: v for name, v in state.items() if name != "embeddings.position_ids"}
    return _filled(BlipTextModel(config, add_pooling_layer=False), given)


def score(
    seeing: Any, reading: Any, head: Any, pixels: Tensor, ids: Tensor, mask: Tensor
) -> Tensor:
    """(head(first token of the text encoder, which attends to the picture) - mean) / std, [B].

    pixels: [B, 3, S, S], normalised.  ids, mask: [B, L] tokens and which of them count.
    """
    seen = seeing(pixels).last_hidden_state
    read = reading(
        input_ids=ids, attention_mask=mask, encoder_hidden_states=seen,
        encoder_attention_mask=seen.new_ones(seen.shape[:2], dtype=ids.dtype), is_decoder=False,
    )  # fmt: skip
    found: Tensor = (head(read.last_hidden_state[:, 0]) - SCORE_MEAN) / SCORE_STD
    return found


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _layers(state: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max(int(found[1]) for name in state if (found := re.match(pattern, name)))


def _filled(model: Any, state: Mapping[str, Tensor]) -> Any:
    """The model with exactly these weights. Raises RuntimeError for names or shapes that differ."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("position_ids")]
    if missing or unexpected:
        raise RuntimeError(f"missing {missing[:2]}, unexpected {unexpected[:2]}")
    return model.eval().requires_grad_(False)
