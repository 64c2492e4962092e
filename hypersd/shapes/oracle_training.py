"""How the oracle is trained: what it must find in a picture, and the loss of a detector.

Other networks of the world are trained to tell the same things of a picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from hypersd.loop import Task
from hypersd.pictures import to_uint8, to_unit
from hypersd.recipe import Recipe
from hypersd.shapes import nets, oracle_figures
from hypersd.shapes.oracle import ENDS, STRIDE, Oracle, OracleNet
from hypersd.shapes.pictures import odds, pictures
from hypersd.shapes.render import hidden_pixels
from hypersd.shapes.scenes import COLOURS, SHAPES, SIZES, sample_scene


def targets(split: str, start: int, count: int) -> dict[str, Tensor]:
    """Where each thing is: one row a thing, padded to 3; cell, size, shape, colour, ..."""
    rows = np.full((count, 3, 8), -1.0, dtype=np.float32)
    for n in range(count):
        scene = sample_scene(split, start + n)
        for k, (thing, place) in enumerate(zip(scene.spec.things, scene.places, strict=True)):
            u, v = place.x / STRIDE, place.y / STRIDE
            hidden = scene.spec.relation == "in front of" and k == 1 and hidden_pixels(scene) > 0
            attributes = SHAPES.index(thing.shape), list(COLOURS).index(thing.colour)
            size = list(SIZES).index(thing.size)
            rows[n, k] = (size, int(v), int(u), *attributes, u - int(u), v - int(v), hidden)
    table = torch.from_numpy(rows)
    return {"where": table[..., :5].long(), "values": table[..., 5:]}


class OracleTask(Task):
    """Train the detector on renders of its own, so that it reads drawn pictures too: every second
    one decoded from noised latents, all of them disturbed. See `loop.Task`.

    data: start, n, vae (folder of the autoencoder), latent_noise (largest standard deviation of
    the noise on a decoded picture's latents), often (relation: how many times as often its scenes
    are drawn).  options: width, init (an exported folder, to train on), covered (weight of the
    loss that tells which of two things is partly hidden; 1 by default), mirrored (whether every
    second picture is).
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device, data = recipe, device, recipe.data
        self.net = OracleNet(recipe.options["width"]).to(device).train()
        if "init" in recipe.options:
            trained = load_file(Path(recipe.options["init"]) / "model.safetensors")
            self.net.load_state_dict({k: v.float() for k, v in trained.items()})
        self.modules: dict[str, nn.Module] = {"net": self.net}
        self.pictures = np.array(pictures("train", data["start"], data["n"]))
        vae = AutoencoderKL.from_pretrained(data["vae"], dtype=torch.float32).eval()
        self.pictures[::2] = decoded(vae, self.pictures[::2], data["latent_noise"])
        self.targets = targets("train", data["start"], data["n"])
        self.odds = odds("train", data["start"], data["n"], data.get("often", {}))

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": self.net.parameters()}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.multinomial(self.odds, self.recipe.batch, replacement=True, generator=rng)
        x = nets.disturb(to_unit(self.pictures[rows.numpy()], self.device), rng)
        where, values = (self.targets[k][rows].to(self.device) for k in ("where", "values"))
        if self.recipe.options.get("mirrored", False):
            half = slice(len(rows) // 2)  # of rows in random order
            x[half], where[half], values[half] = mirrored(x[half], where[half], values[half])
        return detection_loss(self.net(x), where, values, self.recipe.options.get("covered", 1.0))

    def export(self, out: Path) -> dict[str, Any]:
        for name, value in self.net.state_dict().items():
            assert torch.isfinite(value.float()).all(), name
        save_file(
            {k: v.half() for k, v in self.net.state_dict().items()}, out / "model.safetensors"
        )
        figures: dict[str, Any] = {"width": self.recipe.options["width"]}
        figures |= {"parameters": nets.parameters(self.net)}
        return figures | oracle_figures.figures(Oracle(self.net))


@torch.no_grad()
def decoded(vae: AutoencoderKL, images: NDArray[np.uint8], largest: float) -> NDArray[np.uint8]:
    """Pictures through the autoencoder with noise on their latents, as a diffusion model's are
    never exactly right: [N, 64, 64, 3] uint8. Each one's noise has a deviation up to `largest`."""
    rng, parts = torch.Generator().manual_seed(0), []
    for i in track(range(0, len(images), 100), "decoding noised latents"):
        mean = vae.encode(to_unit(images[i : i + 100])).latent_dist.mean
        deviation = largest * torch.rand(len(mean), 1, 1, 1, generator=rng)
        noise = torch.randn(mean.shape, generator=rng) / vae.config.scaling_factor
        parts.append(to_uint8(vae.decode(mean + deviation * noise).sample))
    return np.concatenate(parts)


def mirrored(x: Tensor, where: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures [B, 3, H, W], left and right exchanged, and what `targets` says of them; every shape
    of the world is symmetric."""
    there = where[..., 0] >= 0
    where, values = where.clone(), values.clone()
    where[..., 2] = torch.where(there, x.shape[-1] // STRIDE - 1 - where[..., 2], where[..., 2])
    values[..., 0] = torch.where(there, 1 - values[..., 0], values[..., 0])
    return x.flip(-1), where, values


def detection_loss(
    maps: Tensor, where: Tensor, values: Tensor, covered: float = 1.0
) -> tuple[Tensor, dict[str, float]]:
    """Centres as a focal binary loss over all cells; the rest at the true centres.

    maps: [B, 3, PER_SIZE, 16, 16].  where: [B, 3, 5] size, row, column, shape, colour (-1: none).
    values: [B, 3, 3] offset x, offset y, hidden.  covered: the weight of the loss of `hidden`.
    """
    there = where[..., 0] >= 0
    b = torch.arange(len(maps), device=maps.device)[:, None].expand_as(there)[there]
    size, i, j, shape, colour = where[there].unbind(1)
    truth = torch.zeros_like(maps[:, :, 0])
    truth[b, size, i, j] = 1.0
    heat = maps[:, :, 0]
    wrong = (truth - heat.sigmoid()).abs().square()
    centre = (wrong * F.binary_cross_entropy_with_logits(heat, truth, reduction="none")).sum()
    picked = maps[b, size, :, i, j]
    shapes, colours, rest = torch.tensor_split(picked[:, 1:], ENDS, dim=1)
    parts = {
        "centre": centre / len(b),
        "shape": F.cross_entropy(shapes, shape),
        "colour": F.cross_entropy(colours, colour),
        "offset": (rest[:, :2] - values[there][:, :2]).abs().mean(),
        "covered": F.binary_cross_entropy_with_logits(rest[:, 2], values[there][:, 2]),
    }
    loss = torch.stack(list(parts.values())).sum() + (covered - 1.0) * parts["covered"]
    return loss, {name: float(part.detach()) for name, part in parts.items()}
