"""What every kind of base model provides.

Legend: B batch, L tokens, D text width; C, h, w a latent; H, W a picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypersd.conditions import Text

ENDS = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}  # CLIP's vocabulary


class Family(ABC):
    """A loaded base model of one kind: diffusers' pipeline, and what differs between kinds.

    size: height and width in pixels of what is drawn, what the network was made for where None.

    name: as suites and recipes call the kind.  pipeline: diffusers' class.  part: what it calls the
    network that is distilled.  left_alone: that network's modules without adapters.
    loaded_with: arguments that leave out what changes pictures (the safety checker), and parts that
    a model_index.json may name and drawing does not need.  added: the kind of condition that its
    UNet gets beside the text (`addition_embed_type`).  upcast: whether the VAE overflows in half
    precision where its configuration says so.  published: configurations of the networks of the
    model that gave the kind its name.

    What takes a network by itself is asked of the class: a critic's trunk, a copy that is trained.
    """

    name: ClassVar[str]
    pipeline: ClassVar[str]
    part: ClassVar[str]
    left_alone: ClassVar[tuple[str, ...]]
    loaded_with: ClassVar[dict[str, Any]]
    added: ClassVar[str | None] = None
    upcast: ClassVar[bool] = False
    published: ClassVar[dict[str, dict[str, Any]]]

    def __init__(self, pipe: Any, size: int | None = None) -> None:
        self.pipe, self.size = pipe, size or self.native_size(pipe)

    @property
    def network(self) -> Any:
        """The network that is distilled."""
        return getattr(self.pipe, self.part)

    @classmethod
    def check(cls, folder: Path, pipe: Any) -> None:
        """Refuse a loaded pipeline that cannot be drawn with. Raises UsageError."""
        return

    @classmethod
    @abstractmethod
    def call(cls, network: Any, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """A network's output: x [B, C, H, W], times t [B] of the base's schedule, text of B
        samples -> like x, in the network's precision."""

    @classmethod
    def adaptable(cls, network: nn.Module) -> list[str]:
        """The names of the linear layers and convolutions that an adapter is put on."""
        return [
            name
            for name, module in network.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
            and name.split(".")[0] not in cls.left_alone
        ]

    @classmethod
    @abstractmethod
    def save_lora(cls, folder: Path, state: Mapping[str, Tensor], name: str) -> None:
        """Write a LoRA of the network into a file of a folder, so that the pipeline's
        `load_lora_weights` reads it. state: its factors, in PEFT's keys."""

    @classmethod
    @abstractmethod
    def features(cls, network: Any, x: Tensor, t: Tensor, text: Text) -> list[Tensor]:
        """What critics see: maps [B, M, h, w] from a network's first half, fp32 at least, the last
        one from its middle. As for `call`."""

    @classmethod
    @abstractmethod
    def feature_shapes(cls, network: Any) -> list[tuple[int, int]]:
        """Channels M and side h = w of each of `features`, at the size it was made for."""

    @classmethod
    @abstractmethod
    def trunk(cls, network: Any) -> Any:
        """A copy of what `features` needs of a network that has no adapters."""

    @abstractmethod
    def encode(self, prompts: Sequence[str], time_ids: Tensor | None = None) -> Text:
        """The network's condition for prompts, padded to the model's length, in the encoders'
        precision. time_ids [B, 6]: SDXL's sizes, by default those of a whole picture of `size`."""

    def unconditional(self) -> Text:
        """The condition of one sample without a prompt, for guidance."""
        return self.encode([""])

    @property
    def tokenizers(self) -> list[Any]:
        """The tokenizers of all text encoders."""
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
    def native_size(cls, pipe: Any) -> int:
        """Height and width in pixels that the network was made for."""
        return int(getattr(pipe, cls.part).config.sample_size) * int(pipe.vae_scale_factor)

    def latent_shape(self) -> tuple[int, int, int]:
        """C, h, w of a picture's latents."""
        side = self.size // self.pipe.vae_scale_factor
        return self.network.config.in_channels, side, side

    def to_network(self, latents: Tensor) -> Tensor:
        """The VAE's latents in the network's units; some bases also shift, or whiten each
        channel."""
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

    def _units(self, like: Tensor) -> tuple[float, Any, Any]:
        config = self.pipe.vae.config
        moments = [getattr(config, name, None) for name in ("latents_mean", "latents_std")]
        if None in moments:
            return float(config.scaling_factor), getattr(config, "shift_factor", None), 1.0
        mean, std = (torch.tensor(m).to(like).view(1, -1, 1, 1) for m in moments)
        return float(config.scaling_factor), mean, std


def run_encoder(encoder: Any, tokenizer: Any, prompts: Sequence[str], **options: Any) -> Any:
    """A CLIP text encoder's output for prompts, padded and cut to its length."""
    tokens = tokenizer(
        list(prompts), padding="max_length", truncation=True, return_tensors="pt",
        max_length=tokenizer.model_max_length,
    )  # fmt: skip
    return encoder(tokens.input_ids.to(encoder.device), **options)
