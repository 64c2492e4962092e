"""The base model that everything is distilled from: SD1.5, SDXL, or the embedded world's.

A StableDiffusionPipeline or StableDiffusionXLPipeline folder, or one of the hub (`hf://...`).
Legend: B batch, L tokens, D text width; latents are in VAE-scaled units, [B, C, H, W].
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from numpy.typing import NDArray
from torch import Tensor

from hypersd.conditions import SdxlText, Text
from hypersd.errors import UsageError
from hypersd.hub import local_pipeline
from hypersd.pictures import to_uint8, to_unit
from hypersd.quiet import quiet
from hypersd.reference import SCHEME
from hypersd.schedule import Schedule
from hypersd.trust import refuse_code

SHIPPED = "hypersd.shapes.weights:weights_path"  # the folder of shipped weights, by their name


@dataclass(frozen=True, eq=False)
class Base:
    """The parts of a base model, frozen, on one device; the VAE fp32, the others maybe bf16.

    unet, vae, text_encoder, tokenizer: diffusers' UNet2DConditionModel and AutoencoderKL,
    transformers' CLIPTextModel and CLIPTokenizer, or others that answer alike.  second: SDXL's
    second text encoder and its tokenizer, None for others.  zero_empty: whether no prompt is an
    embedding of zeros (SDXL) instead of the empty text's.
    """

    folder: Path
    device: torch.device
    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    schedule: Schedule
    second: tuple[Any, Any] | None = None
    zero_empty: bool = False

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str], time_ids: Tensor | None = None) -> Text:
        """What the UNet is told of prompts, padded to the model's length: [B, L, D], fp32.

        The last hidden state of the text encoder; for SDXL the last but one of both, side by side,
        the second one's pooled text, and time_ids [B, 6] (default: a whole picture of full size).
        """
        if self.second is None:
            states: Tensor = _run(self.text_encoder, self.tokenizer, prompts).last_hidden_state
            return states.float()
        first = _run(self.text_encoder, self.tokenizer, prompts, output_hidden_states=True)
        other = _run(*self.second, prompts, output_hidden_states=True)
        both = torch.cat([first.hidden_states[-2], other.hidden_states[-2]], dim=-1)
        if time_ids is None:
            size = float(self.pixels)
            time_ids = torch.tensor([[size, size, 0, 0, size, size]]).repeat(len(prompts), 1)
        return SdxlText(both.float(), other.text_embeds.float(), time_ids.float().to(self.device))

    def encode_empty(self) -> Text:
        """The condition of no prompt, of one sample: what guidance leads away from."""
        empty = self.encode_prompts([""])
        if self.zero_empty and isinstance(empty, SdxlText):
            zeros = torch.zeros_like(empty.states), torch.zeros_like(empty.pooled)
            return SdxlText(*zeros, empty.time_ids)
        return empty

    @property
    def pixels(self) -> int:
        """Side of the pictures that the UNet was made for."""
        factor: int = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return int(self.unet.config.sample_size) * factor

    @torch.no_grad()
    def encode_images(self, images: NDArray[np.uint8]) -> Tensor:
        """uint8 [B, H, W, 3] -> the mean of their latents (no draw, so a cache can keep them)."""
        mean: Tensor = self.vae.encode(to_unit(images, self.device)).latent_dist.mean
        return mean * float(self.vae.config.scaling_factor)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """Latents -> pictures, uint8 [B, H, W, 3]."""
        pixels: Tensor = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return to_uint8(pixels)

    def pictures(self, latents: Tensor) -> Tensor:
        """Latents -> pictures [B, 3, H, W] in [-1, 1], with gradient, in fp32."""
        with torch.autocast(latents.device.type, enabled=False):
            scaled = latents.float() / self.vae.config.scaling_factor
            found: Tensor = self.vae.decode(scaled).sample
        return found.clamp(-1, 1)

    def vae_sha256(self) -> str:
        """A digest of the VAE's files, the same wherever the folder lies."""
        return self.sha256("vae")

    def sha256(self, *parts: str) -> str:
        """A digest of the files of some of the base's folders, those that there are."""
        digest = hashlib.sha256()
        for folder in (self.folder / part for part in parts):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()


def _run(encoder: Any, tokenizer: Any, prompts: Sequence[str], **options: Any) -> Any:
    tokens = tokenizer(
        list(prompts), padding="max_length", truncation=True, return_tensors="pt",
        max_length=tokenizer.model_max_length,
    )  # fmt: skip
    return encoder(tokens.input_ids.to(encoder.device), **options)


def base_folder(name: str, precision: str = "fp32") -> Path:
    """The folder of a recipe's base: shipped weights by name, a path where it holds a slash, or
    where the hub's files were fetched to. precision: that of its networks."""
    if name.startswith(SCHEME):
        return local_pipeline(name, wanted_variant(precision))
    if "/" in name:
        return Path(name)
    folder: Path = resolve_name(SHIPPED)(name)
    return folder


def wanted_variant(precision: str) -> str | None:
    """Which of a repository's files are taken. Of "bf16" the half precision ones, where it has
    such: half as many bytes, and fp16 keeps three bits more of a weight than bf16 does."""
    return None if precision == "fp32" else "fp16"


def load_base(name: str, device: torch.device, precision: str = "fp32") -> Base:
    """Load a base, UNet and text encoders in "fp32" or "bf16".

    Raises UsageError where the folder is missing, incomplete or damaged.
    """
    folder = base_folder(name, precision)
    if not (folder / "model_index.json").is_file():
        raise UsageError(f"base {name!r}: {folder} is no StableDiffusionPipeline folder")
    refuse_code(folder)
    quiet()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    try:
        pipe = _load_pipeline(folder, dtype, _variant(folder, precision))
    except Exception as error:  # the loaders of six parts raise many kinds
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(f"base {name!r}: {folder}: {line}") from error
    second = getattr(pipe, "text_encoder_2", None)
    for part in (pipe.unet, pipe.text_encoder, second, pipe.vae):
        if part is not None:
            part.to(device, torch.float32 if part is pipe.vae else dtype)
            part.eval().requires_grad_(False)
    schedule = Schedule.from_config(pipe.scheduler.config).to(device)
    return Base(
        folder, device, pipe.unet, pipe.vae, pipe.text_encoder, pipe.tokenizer, schedule,
        second=None if second is None else (second, pipe.tokenizer_2),
        zero_empty=bool(pipe.config.get("force_zeros_for_empty_prompt", False)),
    )  # fmt: skip


def _variant(folder: Path, precision: str) -> str | None:
    """Which files a folder is loaded from: its half precision ones too where it has no other."""
    names = [path.name for path in (folder / "unet").glob("*.safetensors")]
    half = [name for name in names if ".fp16" in name]
    return "fp16" if half and (wanted_variant(precision) or len(half) == len(names)) else None


def _load_pipeline(folder: Path, dtype: torch.dtype, variant: str | None) -> Any:
    """The pipeline of a folder; the VAE always in fp32, SDXL's overflows in half precision."""
    index = json.loads((folder / "model_index.json").read_text())
    kinds: dict[str, Any] = {
        "dtype": {"default": dtype, "vae": torch.float32},
        "use_safetensors": True,
        "variant": variant,
    }
    if str(index.get("_class_name", "")).startswith("StableDiffusionXL"):
        loader: Any = StableDiffusionXLPipeline
        return loader.from_pretrained(folder, local_files_only=True, **kinds)
    loader = StableDiffusionPipeline
    return loader.from_pretrained(folder, local_files_only=True, safety_checker=None, **kinds)
