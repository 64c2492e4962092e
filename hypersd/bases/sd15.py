"""Stable Diffusion 1.5, and the embedded world's base: one CLIP text encoder, its last states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from hypersd.bases.family import run_encoder
from hypersd.bases.unet import UnetFamily

VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
CLIP_L: dict[str, Any] = {  # OpenAI's CLIP ViT-L/14
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "projection_dim": 768, "hidden_act": "quick_gelu",
}  # fmt: skip


class Sd15(UnetFamily):
    """`StableDiffusionPipeline`."""

    name = "sd15"
    pipeline = "StableDiffusionPipeline"
    loaded_with: ClassVar = {
        "safety_checker": None, "feature_extractor": None, "image_encoder": None,
        "requires_safety_checker": False,
    }  # fmt: skip
    published: ClassVar = {
        "unet": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
        "vae": {**VAE, "scaling_factor": 0.18215, "sample_size": 512},
        "text_encoder": CLIP_L,
    }

    def encode(self, prompts: Sequence[str], time_ids: Tensor | None = None) -> Tensor:
        """The last hidden states of the text encoder, [B, L, D]."""
        pipe = self.pipe
        states: Tensor = run_encoder(pipe.text_encoder, pipe.tokenizer, prompts).last_hidden_state
        return states
