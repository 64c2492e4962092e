"""The UNet of SD1.5 and SDXL: diffusers' UNet2DConditionModel."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypersd.bases.family import ENDS, Family
from hypersd.conditions import Text, keywords
from hypersd.unet_inputs import refuse_others


class UnetFamily(Family):
    """A base whose network is a UNet."""

    part = "unet"
    left_alone = ("conv_in", "conv_out", "time_embedding", "add_embedding")

    @classmethod
    def check(cls, folder: Path, pipe: Any) -> None:
        """Refuse a UNet that wants other inputs than it is given. Raises UsageError."""
        refuse_others(folder / cls.part, pipe.unet.config, cls.inputs(pipe))

    @classmethod
    def call(cls, network: Any, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """The UNet's output: x [B, C, H, W], timesteps t [B], text of B samples -> like x."""
        given = keywords(text, network.dtype)
        found: Tensor = network(x.to(network.dtype), t, **given, return_dict=False)[0]
        return found

    @classmethod
    def feature_shapes(cls, network: Any) -> list[tuple[int, int]]:
        """Channels and side of what each down block and the middle one give."""
        widths = [int(n) for n in network.config.block_out_channels]
        last, side = len(widths) - 1, int(network.config.sample_size)
        down = [(width, side >> min(i + 1, last)) for i, width in enumerate(widths)]
        return [*down, (widths[-1], side >> last)]

    @classmethod
    def features(cls, network: Any, x: Tensor, t: Tensor, text: Text) -> list[Tensor]:
        """The outputs of every down block and of the middle one, [B, M, h, w], fp32 at least.

        x: [B, C, H, W].  t: [B].  text: of B samples.
        The first half of diffusers' `UNet2DConditionModel.forward`, with SDXL's added conditions.
        """
        given = keywords(text, network.dtype)
        states, added = given["encoder_hidden_states"], given.get("added_cond_kwargs", {})
        emb = network.time_embedding(network.get_time_embed(sample=x.to(network.dtype), timestep=t))
        more = network.get_aug_embed(emb=emb, encoder_hidden_states=states, added_cond_kwargs=added)
        emb = emb if more is None else emb + more
        h = network.conv_in(x.to(network.dtype))
        found: list[Tensor] = []
        for block in network.down_blocks:
            if getattr(block, "has_cross_attention", False):
                h, _ = block(hidden_states=h, temb=emb, encoder_hidden_states=states)
            else:
                h, _ = block(hidden_states=h, temb=emb)
            found.append(h)
        found.append(network.mid_block(h, emb, encoder_hidden_states=states))
        return [one.to(torch.promote_types(one.dtype, torch.float32)) for one in found]

    @classmethod
    def trunk(cls, network: Any) -> Any:
        """A copy without the decoder."""
        kept = {name: getattr(network, name) for name in ("up_blocks", "conv_norm_out", "conv_out")}
        for name in kept:
            setattr(network, name, None)
        try:
            return copy.deepcopy(network)
        finally:
            for name, module in kept.items():
                setattr(network, name, module)

    @classmethod
    def save_lora(cls, folder: Path, state: Mapping[str, Tensor], name: str) -> None:
        """For `StableDiffusionPipeline.load_lora_weights` and SDXL's."""
        from diffusers import StableDiffusionPipeline

        StableDiffusionPipeline.save_lora_weights(
            folder, unet_lora_layers=dict(state), weight_name=name
        )

    @classmethod
    def inputs(cls, pipe: Any) -> dict[str, Any]:
        """The inputs of the UNet, by the fields of `hypersd.unet_inputs`."""
        channels = pipe.vae.config.latent_channels
        return {
            "in_channels": channels, "out_channels": channels, "addition_embed_type": cls.added,
            "class_embed_type": None, "num_class_embeds": None,
            "encoder_hid_dim": None, "encoder_hid_dim_type": None,
        }  # fmt: skip

    @classmethod
    def networks(cls) -> dict[str, nn.Module]:
        """The networks of the published model, their weights still without memory ("meta")."""
        from accelerate import init_empty_weights
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

        encoders = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
        kinds: dict[str, Any] = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
        with init_empty_weights():
            return {
                part: encoders[part](CLIPTextConfig(**config, **ENDS))
                if part in encoders
                else kinds[part](**config)
                for part, config in cls.published.items()
            }
