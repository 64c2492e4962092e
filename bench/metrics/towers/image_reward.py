"""ImageReward (Xu et al. 2023, arXiv 2304.05977): BLIP reads picture and prompt together.

    score = (head(first token of the text encoder, which attends to the picture) - mean) / std

The head is five linear layers without activations, so it is one affine map. transformers has the
two BLIP networks; the published file's names are mapped to theirs. Prompts are cut at 35 tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError
from bench.metrics import resize, weights
from bench.metrics.towers import affine
from bench.metrics.towers.base import Tower
from bench.metrics.towers.clip import MEAN, STD

if TYPE_CHECKING:
    from torch import Tensor

TOKENS = 35
SCORE_MEAN, SCORE_STD = 0.16717362830052426, 1.0333394966054072  # image-reward 1.5
HEAD_WIDTH = 64  # of every attention head in ViT-L and BERT-base
PATCH = 16
RENAMED = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.(\d+)\.norm([12])\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.attn\.", r"encoder.layers.\1.self_attn."),
    (r"^blocks\.(\d+)\.", r"encoder.layers.\1."),
)


@dataclass(frozen=True)
class ImageReward(Tower):
    """weights, vocabulary: sources of the published file and of BERT's vocab.txt."""

    kind: ClassVar[str] = "image_reward"
    weights: str = "hf://THUDM/ImageReward/ImageReward.pt"
    vocabulary: str = "hf://google-bert/bert-base-uncased/vocab.txt"

    @property
    def sources(self) -> tuple[str, ...]:
        """The network's file."""
        return (self.weights,)

    @property
    def companions(self) -> tuple[str, ...]:
        """BERT's vocabulary."""
        return (self.vocabulary,)

    @property
    def about(self) -> str:
        """Input and output."""
        return f"input=shortest,{TOKENS} tokens;output=score"

    def build(self, device: str) -> ImageRewardNetwork:
        """The network in fp32. Raises UsageError for other weights."""
        return ImageRewardNetwork(self, device)


class ImageRewardNetwork:
    """A loaded ImageReward."""

    def __init__(self, tower: ImageReward, device: str) -> None:
        from tokenizers import BertWordPieceTokenizer

        path = tower.path
        state = weights.tensors(path)
        self.device, self.head = device, affine.of_layers(_below("mlp.", state), path)
        try:
            self.vision = _vision(_below("blip.visual_encoder.", state)).to(device)
            self.text = _text(_below("blip.text_encoder.", state)).to(device)
        except (KeyError, RuntimeError) as error:
            words = " ".join(str(error).split())
            raise UsageError(f"{path}: not ImageReward's weights ({words[:120]})") from None
        vocabulary = weights.find(f"{tower.name}: vocabulary", (tower.vocabulary,))
        self.tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
        self.side = self.vision.config.image_size

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """Scores [B, 1] of uint8 [B, H, W, 3] and their prompts; about a standard normal on the
        pictures that people judged."""
        seen = self.vision(self.prepared(images)).last_hidden_state
        ids, mask = self._ids(prompts)
        read = self.text(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=seen.new_ones(seen.shape[:2], dtype=ids.dtype),
            is_decoder=False,
        )
        score: Tensor = (self.head(read.last_hidden_state[:, 0]) - SCORE_MEAN) / SCORE_STD
        return score[:, None]

    def prepared(self, images: Tensor) -> Tensor:
        """[B, 3, S, S]: the shorter side to S, the middle, CLIP's mean and deviation."""
        x = resize.shortest(images.permute(0, 3, 1, 2), self.side)
        x = resize.centre(x, self.side) / 255
        return (x - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)

    def cut(self, texts: list[str]) -> list[bool]:
        """Whether each text has more than 35 tokens, with start and end."""
        self.tokenizer.no_truncation()
        return [len(self.tokenizer.encode(text).ids) > TOKENS for text in texts]

    def _ids(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        import torch

        self.tokenizer.enable_truncation(TOKENS)
        self.tokenizer.enable_padding(length=TOKENS)
        coded = self.tokenizer.encode_batch(prompts)
        self.tokenizer.no_padding()
        ids = torch.tensor([one.ids for one in coded], device=self.device)
        return ids, torch.tensor([one.attention_mask for one in coded], device=self.device)


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _vision(state: dict[str, Tensor]) -> Any:
    """BLIP's picture encoder, its size read off the weights."""
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
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return _filled(BlipVisionModel(config), renamed)


def _text(state: dict[str, Tensor]) -> Any:
    """BLIP's text encoder with attention to the picture in every layer."""
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
    state.pop("embeddings.position_ids", None)
    return _filled(BlipTextModel(config, add_pooling_layer=False), state)


def _layers(state: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max(int(found[1]) for name in state if (found := re.match(pattern, name)))


def _filled(model: Any, state: Mapping[str, Tensor]) -> Any:
    """The model with exactly these weights. Raises RuntimeError for names or shapes that differ."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("position_ids")]
    if missing or unexpected:
        raise RuntimeError(f"missing {missing[:2]}, unexpected {unexpected[:2]}")
    return model.eval().requires_grad_(False)
