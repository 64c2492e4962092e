"""The world's autoencoder: SD's AutoencoderKL, small; 64x64x3 pictures <-> 16x16x4 latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from hypersd.loop import Task
from hypersd.pictures import to_uint8, to_unit
from hypersd.recipe import Recipe
from hypersd.shapes.pictures import pictures
from hypersd.whole_files import written_whole

HELD_OUT = 1000  # validation pictures in the model card's figures


def build(widths: list[int], groups: int) -> AutoencoderKL:
    """An untrained autoencoder, factor 4, no attention; `widths` from 64 to 16 pixels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=tuple(widths),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=groups,
        sample_size=64,
        mid_block_add_attention=False,
    )


def _start(options: dict[str, Any], shown: Any) -> AutoencoderKL:
    """An untrained autoencoder, or a trained one, its latents whitened."""
    if "init" not in options:
        return build(options["widths"], options["groups"])
    vae = AutoencoderKL.from_pretrained(options["init"], dtype=torch.float32)
    whiten(vae, shown[:2000])
    return vae


@torch.no_grad()
def whiten(vae: AutoencoderKL, images: Any) -> None:
    """Turn the latents so that their channels have mean 0, deviation 1 and no correlation over
    `images` (uint8 [N, 64, 64, 3]); reconstructions stay what they were.

    A diffusion model adds white noise, which first hides small differences of two correlated
    channels. The turn and its inverse go into the two 1x1 convolutions beside the latents; the
    posteriors' variances are left alone.
    """
    parts = [vae.encode(to_unit(images[i : i + 100])).latent_dist.mean
             for i in range(0, len(images), 100)]  # fmt: skip
    values = torch.cat(parts).transpose(0, 1).flatten(1).double()
    mean = values.mean(1)
    spread, axes = torch.linalg.eigh(torch.cov(values))
    turn = (axes * spread.rsqrt()) @ axes.T
    back = ((axes * spread.sqrt()) @ axes.T).float()
    before, after, count = vae.quant_conv, vae.post_quant_conv, len(mean)
    kernel, bias = before.weight[:count, :, 0, 0].double(), before.bias[:count].double()
    before.weight[:count, :, 0, 0] = (turn @ kernel).float()
    before.bias[:count] = (turn @ (bias - mean)).float()
    read = after.weight[:, :, 0, 0]
    after.bias += read @ mean.float()
    after.weight[:, :, 0, 0] = read @ back


class VaeTask(Task):
    """Reconstruct: mean |x - y| and squared error, a small KL term. A `hypersd.loop.Task`.

    options: widths, groups (of the group norms), kl (weight per latent value), bf16. latent_noise:
    half of the latents get noise of a deviation up to this share of their channel's, so that the
    encoder's code resists noise, and the decoder corrects small errors of a diffusion model.  init
    (a trained folder): train it on, its latents whitened first.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.pictures = pictures("train", 0, recipe.data["n"])
        self.vae = _start(recipe.options, self.pictures).to(device)
        self.modules: dict[str, nn.Module] = {"vae": self.vae}

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": [p for p in self.vae.parameters() if p.requires_grad]}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(self.pictures), (self.recipe.batch,), generator=rng)
        x = to_unit(self.pictures[rows.numpy()]).to(self.device)
        bf16 = bool(self.recipe.options.get("bf16", False))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            posterior = self.vae.encode(x).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=rng).to(self.device)
            drawn = self._noised(posterior.mean, rng) + posterior.std * noise
            y = self.vae.decode(drawn).sample
        error = y.float() - x
        squared = error.square().mean()
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        loss = squared + 0.02 * error.abs().mean() + self.recipe.options["kl"] * kl
        return loss, {
            "psnr": float(10 * torch.log10(4.0 / squared.detach())),
            "kl": float(kl.detach()),
        }

    def _noised(self, mean: Tensor, rng: torch.Generator) -> Tensor:
        """Half of the latents with noise of a deviation up to `latent_noise` of their channel's."""
        largest = self.recipe.options.get("latent_noise", 0.0)
        share = (2 * torch.rand(len(mean), 1, 1, 1, generator=rng) - 1).clamp(min=0)
        noise = torch.randn(mean.shape, generator=rng)
        spread = mean.detach().std(dim=(0, 2, 3), keepdim=True)
        noised: Tensor = mean + largest * spread * (share * noise).to(self.device)
        return noised

    def preview(self, path: Path) -> None:
        shown = pictures("validation", 0, HELD_OUT)[:12]
        pair = [np.concatenate(list(rows), 1) for rows in (shown, round_trip(self.vae, shown))]
        with written_whole(path) as beside:
            Image.fromarray(np.concatenate(pair, 0)).save(beside, "PNG")

    def export(self, out: Path) -> dict[str, Any]:
        held_out = pictures("validation", 0, HELD_OUT)
        with torch.no_grad():
            means = [self.vae.encode(to_unit(x)).latent_dist.mean for x in np.split(held_out, 10)]
        spread = float(torch.cat(means).std())
        self.vae.register_to_config(scaling_factor=round(1.0 / spread, 5))
        self.vae.half().save_pretrained(out, safe_serialization=True)
        self.vae.float()
        parameters = sum(p.numel() for p in self.vae.parameters())
        psnr = float(np.mean(peak_signal_to_noise(held_out, round_trip(self.vae, held_out))))
        return {"parameters": parameters, "held_out_psnr_db": round(psnr, 2)}


@torch.no_grad()
def round_trip(vae: AutoencoderKL, images: Any, batch: int = 100) -> Any:
    """Pictures through the latents' means and back: uint8 -> uint8, same shape."""
    parts = [images[i : i + batch] for i in range(0, len(images), batch)]
    done = [to_uint8(vae.decode(vae.encode(to_unit(p)).latent_dist.mean).sample) for p in parts]
    return np.concatenate(done)


def peak_signal_to_noise(a: Any, b: Any) -> Any:
    """Decibels per picture of uint8 pictures [N, H, W, 3]: 10 log10(255^2 / mean squared error)."""
    error = (a.astype(np.float64) - b.astype(np.float64)) ** 2
    return 10 * np.log10(255.0**2 / np.maximum(error.mean(axis=(1, 2, 3)), 1e-12))
