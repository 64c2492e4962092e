"""The base model that everything is distilled from: SD1.5, SDXL, or the embedded world's.

A pipeline's folder, or one of the hub (`hf://...`), of a kind that `hypersd.bases` knows.
Legend: B batch, L tokens, D text width; latents are in VAE-scaled units, [B, C, H, W].
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypersd import bases
from hypersd.bases import Family
from hypersd.conditions import Text, moved
from hypersd.errors import UsageError
from hypersd.hub import local_pipeline, wanted_variant
from hypersd.inputs import SHIPPED
from hypersd.pictures import to_uint8, to_unit
from hypersd.reference import SCHEME
from hypersd.schedule import Schedule


@dataclass(frozen=True, eq=False)
class Base:
    """A base model, frozen, on one device; the VAE fp32, the other networks maybe bf16."""

    folder: Path
    device: torch.device
    family: Family
    schedule: Schedule

    @property
    def network(self) -> Any:
        """What is distilled: diffusers' UNet2DConditionModel, SD3Transformer2DModel."""
        return self.family.network

    @property
    def vae(self) -> Any:
        """diffusers' AutoencoderKL."""
        return self.family.pipe.vae

    @property
    def pixels(self) -> int:
        """Side of the pictures that the UNet was made for."""
        return self.family.size

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str], time_ids: Tensor | None = None) -> Text:
        """The UNet's condition for prompts, padded to the model's length, fp32.

        time_ids [B, 6]: SDXL's sizes (default: a whole picture of full size).
        """
        return moved(self.family.encode(prompts, time_ids), torch.float32)

    @torch.no_grad()
    def encode_empty(self) -> Text:
        """The condition of no prompt, of one sample, for guidance; fp32."""
        return moved(self.family.unconditional(), torch.float32)

    @torch.no_grad()
    def encode_images(self, images: NDArray[np.uint8]) -> Tensor:
        """uint8 [B, H, W, 3] -> the mean of their latents (no draw, so a cache can keep them)."""
        mean: Tensor = self.vae.encode(to_unit(images, self.device)).latent_dist.mean
        return self.family.to_network(mean)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """Latents -> pictures, uint8 [B, H, W, 3]."""
        return to_uint8(self.family.decode(latents))

    def pictures(self, latents: Tensor) -> Tensor:
        """Latents -> pictures [B, 3, H, W] in [-1, 1], with gradient, in fp32."""
        with torch.autocast(latents.device.type, enabled=False):
            return self.family.decode(latents.float()).clamp(-1, 1)

    def vae_sha256(self) -> str:
        """A digest of the VAE's files, independent of the folder's path."""
        return self.sha256("vae")

    def sha256(self, *parts: str) -> str:
        """A digest of the files of some of the base's folders; missing folders are skipped."""
        digest = hashlib.sha256()
        for folder in (self.folder / part for part in parts):
            inside = sorted(folder.iterdir()) if folder.is_dir() else ()
            for path in (one for one in inside if one.is_file()):
                digest.update(path.name.encode())
                with path.open("rb") as file:  # T5's files are larger than memory may be
                    while part := file.read(2**24):
                        digest.update(part)
        return digest.hexdigest()


def base_folder(name: str, precision: str = "fp32") -> Path:
    """The folder of a recipe's base: shipped weights by name, a path where it holds a slash, or
    where the hub's files were fetched to. precision: that of its networks."""
    if name.startswith(SCHEME):
        return local_pipeline(name, wanted_variant(precision))
    if "/" in name:
        return Path(name)
    folder: Path = resolve_name(SHIPPED)(name)
    return folder


def load_base(name: str, device: torch.device, precision: str = "fp32") -> Base:
    """Load a base, UNet and text encoders in "fp32" or "bf16"; the VAE always in fp32, SDXL's
    overflows in half precision.

    Raises UsageError where the folder is missing, incomplete or damaged.
    """
    folder = base_folder(name, precision)
    if not (folder / "model_index.json").is_file():
        raise UsageError(
            f"base {name!r}: {folder} is no pipeline's folder (it has no model_index.json)"
        )
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    try:
        pipe = bases.load(
            folder, {"default": dtype, "vae": torch.float32}, wanted_variant(precision)
        )
    except UsageError as error:
        raise UsageError(f"base {name!r}: {error}") from None
    base = Base(folder, device, bases.of(pipe), Schedule.from_config(pipe.scheduler.config))
    if base.network.config.get("time_cond_proj_dim") is not None:
        raise UsageError(f"base {name!r}: its UNet takes guidance as an input; valid: a base "
                         "whose UNet does not")  # fmt: skip
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(device, torch.float32 if part is pipe.vae else dtype)
            part.eval().requires_grad_(False)
    return replace(base, schedule=base.schedule.to(device))
