"""Stable Diffusion 3 and 3.5 (Esser et al. 2024, arXiv 2403.03206): a rectified flow, a transformer
over text and picture together, three text encoders, latents of 16 channels with a shift."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from hypersd.bases.family import Family
from hypersd.conditions import PooledText, Text

TIMESTEPS = 1000  # the network's input for t = 1
T5_TOKENS = 256  # the pipeline's default
SEEN = 4  # blocks whose outputs critics see, evenly spread over the first half


class Sd3(Family):
    """`StableDiffusion3Pipeline`, with or without T5.

    Adapters are put on every linear layer of the blocks: attention and feed-forward of picture and
    text, and their modulations.
    """

    name = "sd3"
    pipeline = "StableDiffusion3Pipeline"
    part = "transformer"
    left_alone = ("pos_embed", "time_text_embed", "context_embedder", "norm_out", "proj_out")
    loaded_with: ClassVar = {"image_encoder": None, "feature_extractor": None}
    published: ClassVar = {}

    def encode(self, prompts: Sequence[str], time_ids: Tensor | None = None) -> PooledText:
        """The pipeline's encoding: the last but one states of both CLIPs side by side, padded to
        T5's width, then T5's, [B, 77 + 256, D]; both CLIPs' pooled text, [B, P].

        Without T5 one token of zeros takes its place. The pipeline's default has 256 of them: draw
        such a base with max_sequence_length=1.
        """
        length = 1 if self.pipe.text_encoder_3 is None else T5_TOKENS
        states, _, pooled, _ = self.pipe.encode_prompt(
            list(prompts), None, None, device=self.pipe.text_encoder.device,
            do_classifier_free_guidance=False, max_sequence_length=length,
        )  # fmt: skip
        return PooledText(states, pooled)

    @property
    def tokenizers(self) -> list[Any]:
        """The tokenizers of both CLIPs, which read less than T5."""
        return [self.pipe.tokenizer, self.pipe.tokenizer_2]

    @classmethod
    def call(cls, network: Any, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """The velocity: t [B] from 0 to 1, which the network is given in timesteps."""
        found: Tensor = network(
            x.to(network.dtype), timestep=t * TIMESTEPS, return_dict=False,
            **_conditions(text, network.dtype),
        )[0]  # fmt: skip
        return found

    @classmethod
    def feature_shapes(cls, network: Any) -> list[tuple[int, int]]:
        """The blocks' width, and a place for each patch."""
        side = int(network.config.sample_size) // int(network.config.patch_size)
        return [(int(network.inner_dim), side)] * len(_seen(network))

    @classmethod
    def features(cls, network: Any, x: Tensor, t: Tensor, text: Text) -> list[Tensor]:
        """The picture's tokens after some blocks up to the middle one, as maps.

        The first half of diffusers' `SD3Transformer2DModel.forward`.
        # Differs from LADD (arXiv 2403.12015), whose heads are on blocks of the whole depth.
        """
        given = _conditions(text, network.dtype)
        h = network.pos_embed(x.to(network.dtype)).contiguous()
        emb = network.time_text_embed(t * TIMESTEPS, given["pooled_projections"])
        words = network.context_embedder(given["encoder_hidden_states"])
        patch, seen, found = int(network.config.patch_size), _seen(network), []
        for i, block in enumerate(network.transformer_blocks[: seen[-1] + 1]):
            if torch.is_grad_enabled() and network.gradient_checkpointing:
                words, h = network._gradient_checkpointing_func(block, h, words, emb)
            else:
                words, h = block(h, words, emb)
            if i in seen:
                found.append(h.transpose(1, 2).unflatten(2, (x.shape[2] // patch, -1)))
        return [one.to(torch.promote_types(one.dtype, torch.float32)) for one in found]

    @classmethod
    def trunk(cls, network: Any) -> Any:
        """A copy without the blocks above the middle and the output."""
        blocks, last = network.transformer_blocks, (network.norm_out, network.proj_out)
        network.transformer_blocks = blocks[: _half(network)]
        network.norm_out = network.proj_out = None
        try:
            return copy.deepcopy(network)
        finally:
            network.transformer_blocks = blocks
            network.norm_out, network.proj_out = last

    @classmethod
    def save_lora(cls, folder: Path, state: Mapping[str, Tensor], name: str) -> None:
        """For `StableDiffusion3Pipeline.load_lora_weights`."""
        from diffusers import StableDiffusion3Pipeline

        StableDiffusion3Pipeline.save_lora_weights(
            folder, transformer_lora_layers=dict(state), weight_name=name
        )


def _conditions(text: Text, dtype: torch.dtype) -> dict[str, Tensor]:
    if not isinstance(text, PooledText):
        raise TypeError(f"SD3's condition is no {type(text).__name__}")
    return {"encoder_hidden_states": text.states.to(dtype),
            "pooled_projections": text.pooled.to(dtype)}  # fmt: skip


def _half(network: Any) -> int:
    """The number of blocks in the first half, by the configuration; a trunk has no others."""
    return max(1, int(network.config.num_layers) // 2)


def _seen(network: Any) -> list[int]:
    """The blocks whose outputs are `features`."""
    half = _half(network)
    count = min(SEEN, half)
    return [half * (i + 1) // count - 1 for i in range(count)]
