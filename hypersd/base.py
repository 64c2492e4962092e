"""The base model that everything is distilled from: a StableDiffusionPipeline folder.

Legend: B batch, L tokens, D text width; latents are in VAE-scaled units, [B, C, H, W].
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor

from hypersd.errors import UsageError
from hypersd.schedule import Schedule
from hypersd.shapes.vae import to_uint8, to_unit


@dataclass(frozen=True, eq=False)
class Base:
    """The parts of a base model, fp32, frozen, on one device.

    unet, vae, text_encoder, tokenizer: diffusers' UNet2DConditionModel and AutoencoderKL,
    transformers' CLIPTextModel and CLIPTokenizer, or others that answer alike.
    """

    folder: Path
    device: torch.device
    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    schedule: Schedule

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """The last hidden state of the text encoder, padded to the model's length: [B, L, D]."""
        tokens = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, return_tensors="pt",
            max_length=self.tokenizer.model_max_length,
        )  # fmt: skip
        states: Tensor = self.text_encoder(tokens.input_ids.to(self.device)).last_hidden_state
        return states.float()

    @torch.no_grad()
    def encode_images(self, images: NDArray[np.uint8]) -> Tensor:
        """uint8 [B, H, W, 3] -> the mean of their latents (no draw, so a cache can keep them)."""
        mean: Tensor = self.vae.encode(to_unit(images).to(self.device)).latent_dist.mean
        return mean * float(self.vae.config.scaling_factor)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """Latents -> pictures, uint8 [B, H, W, 3]."""
        pixels: Tensor = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return to_uint8(pixels.cpu())

    def vae_sha256(self) -> str:
        """A digest of the VAE's files, the same wherever the folder lies."""
        digest = hashlib.sha256()
        for path in sorted((self.folder / "vae").iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()


def base_folder(name: str) -> Path:
    """The folder of a recipe's base: shipped weights by name, or a path where it holds a slash."""
    if "/" in name:
        return Path(name)
    from hypersd.shapes.weights import weights_path

    return Path(weights_path(name))


def load_base(name: str, device: torch.device) -> Base:
    """Load a base. Raises UsageError where the folder is missing, incomplete or damaged."""
    folder = base_folder(name)
    if not (folder / "model_index.json").is_file():
        raise UsageError(f"base {name!r}: {folder} is no StableDiffusionPipeline folder")
    loader: Any = StableDiffusionPipeline
    try:
        pipe = loader.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the loaders of six parts raise many kinds
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(f"base {name!r}: {folder}: {line}") from error
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        part.float().to(device).eval().requires_grad_(False)
    schedule = Schedule.from_config(pipe.scheduler.config).to(device)
    return Base(folder, device, pipe.unet, pipe.vae, pipe.text_encoder, pipe.tokenizer, schedule)
