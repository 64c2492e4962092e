"""SDXL (Podell et al. 2023, arXiv 2307.01952): two text encoders, a pooled text and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hypersd.bases.family import run_encoder
from hypersd.bases.sd15 import CLIP_L, VAE
from hypersd.bases.unet import UnetFamily
from hypersd.conditions import SdxlText

CLIP_G: dict[str, Any] = {  # OpenCLIP's ViT-bigG/14
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
    "num_attention_heads": 20, "projection_dim": 1280, "hidden_act": "gelu",
}  # fmt: skip


class Sdxl(UnetFamily):
    """`StableDiffusionXLPipeline`."""

    name = "sdxl"
    pipeline = "StableDiffusionXLPipeline"
    loaded_with: ClassVar = {
        "feature_extractor": None, "image_encoder": None, "add_watermarker": False,
    }  # fmt: skip
    added = "text_time"
    upcast = True
    published: ClassVar = {
        "unet": {
            "sample_size": 128,
            "block_out_channels": [320, 640, 1280],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "transformer_layers_per_block": [1, 2, 10],
            "attention_head_dim": [5, 10, 20],
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        "vae": {**VAE, "scaling_factor": 0.13025, "sample_size": 1024, "force_upcast": True},
        "text_encoder": CLIP_L,
        "text_encoder_2": CLIP_G,
    }

    def encode(self, prompts: Sequence[str], time_ids: Tensor | None = None) -> SdxlText:
        """The last but one hidden states of both encoders, side by side [B, L, D], the second one's
        pooled text [B, P], and the sizes, fp32."""
        pipe = self.pipe
        first = run_encoder(pipe.text_encoder, pipe.tokenizer, prompts, output_hidden_states=True)
        second = run_encoder(
            pipe.text_encoder_2, pipe.tokenizer_2, prompts, output_hidden_states=True
        )
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        if time_ids is None:  # the sizes of an uncropped picture
            sizes = torch.tensor([self.size, self.size, 0, 0, self.size, self.size])
            time_ids = sizes.expand(len(prompts), -1)
        return SdxlText(states, second.text_embeds, time_ids.float().to(states.device))

    def unconditional(self) -> SdxlText:
        """The empty text's condition; zeros where the pipeline asks for them, as the published one
        does."""
        empty = self.encode([""])
        if not self.pipe.config.get("force_zeros_for_empty_prompt", False):
            return empty
        zeros = torch.zeros_like(empty.states), torch.zeros_like(empty.pooled)
        return SdxlText(*zeros, empty.time_ids)

    @property
    def tokenizers(self) -> list[Any]:
        """The tokenizers of both text encoders."""
        return [self.pipe.tokenizer, self.pipe.tokenizer_2]
