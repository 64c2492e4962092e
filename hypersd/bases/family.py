"""What every kind of base model provides.

Legend: B batch, L tokens, D text width; C, h, w a latent; H, W a picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypersd.conditions import Text

ENDS = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}  # CLIP's vocabulary


class Family(ABC):
    """A loaded base model of one kind: diffusers' pipeline, and what differs between kinds.

    size: height and width in pixels of what is drawn, what the network was made for where None.

    name: as suites and recipes call the kind.  pipeline: diffusers' class.  loaded_with: arguments
    that leave out what changes pictures (the safety checker), and parts that a model_index.json may
    name and drawing does not need.  added: the kind of condition that its UNet gets beside the text
    (`addition_embed_type`).  upcast: whether the VAE overflows in half precision where its
    configuration says so.  published: configurations of the networks of the model that gave the
    kind its name.
    """

    name: ClassVar[str]
    pipeline: ClassVar[str]
    loaded_with: ClassVar[dict[str, Any]]
    added: ClassVar[str | None] = None
    upcast: ClassVar[bool] = False
    published: ClassVar[dict[str, dict[str, Any]]]

    def __init__(self, pipe: Any, size: int | None = None) -> None:
        self.pipe, self.size = pipe, size or self.native_size(pipe)

    @abstractmethod
    def encode(self, prompts: Sequence[str], time_ids: Tensor | None = None) -> Text:
        """The network's condition for prompts, padded to the model's length, in the encoders'
        precision. time_ids [B, 6]: SDXL's sizes, by default those of a whole picture of `size`."""

    def unconditional(self) -> Text:
        """The condition of one sample without a prompt, for guidance."""
        return self.encode([""])

    @property
    def tokenizers(self) -> list[Any]:
        """Those of every text encoder."""
        return [self.pipe.tokenizer]

    def truncated(self, prompts: Sequence[str]) -> list[bool]:
        """Which prompts are longer than some encoder reads."""
        found = [False] * len(prompts)
        for tokenizer in self.tokenizers:
            ids = tokenizer(list(prompts))["input_ids"]
            longest = tokenizer.model_max_length
            found = [cut or len(i) > longest for cut, i in zip(found, ids, strict=True)]
        return found

    @classmethod
    def inputs(cls, pipe: Any) -> dict[str, Any]:
        """What its UNet is given, by the fields of `hypersd.unet_inputs`."""
        channels = pipe.vae.config.latent_channels
        return {
            "in_channels": channels, "out_channels": channels, "addition_embed_type": cls.added,
            "class_embed_type": None, "num_class_embeds": None,
            "encoder_hid_dim": None, "encoder_hid_dim_type": None,
        }  # fmt: skip

    @staticmethod
    def native_size(pipe: Any) -> int:
        """Height and width in pixels that the network was made for."""
        return int(pipe.unet.config.sample_size) * int(pipe.vae_scale_factor)

    def latent_shape(self) -> tuple[int, int, int]:
        """C, h, w of a picture's latents."""
        side = self.size // self.pipe.vae_scale_factor
        return self.pipe.unet.config.in_channels, side, side

    def to_network(self, latents: Tensor) -> Tensor:
        """The VAE's latents in the network's units; some bases also whiten each channel."""
        factor, mean, std = self._units(latents)
        return latents * factor if mean is None else (latents - mean) * factor / std

    def to_vae(self, latents: Tensor) -> Tensor:
        """The inverse of `to_network`."""
        factor, mean, std = self._units(latents)
        return latents / factor if mean is None else latents * std / factor + mean

    def decode(self, latents: Tensor) -> Tensor:
        """Latents in the network's units -> pictures [B, 3, H, W], about in [-1, 1], in the
        precision of the latents, which must be the VAE's."""
        found: Tensor = self.pipe.vae.decode(self.to_vae(latents), return_dict=False)[0]
        return found

    def _units(self, like: Tensor) -> tuple[float, Tensor | None, Any]:
        config = self.pipe.vae.config
        moments = [getattr(config, name, None) for name in ("latents_mean", "latents_std")]
        if None in moments:
            return float(config.scaling_factor), None, None
        mean, std = (torch.tensor(m).to(like).view(1, -1, 1, 1) for m in moments)
        return float(config.scaling_factor), mean, std

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


def run_encoder(encoder: Any, tokenizer: Any, prompts: Sequence[str], **options: Any) -> Any:
    """A CLIP text encoder's output for prompts, padded and cut to its length."""
    tokens = tokenizer(
        list(prompts), padding="max_length", truncation=True, return_tensors="pt",
        max_length=tokenizer.model_max_length,
    )  # fmt: skip
    return encoder(tokens.input_ids.to(encoder.device), **options)
