"""The attribute oracle: is each thing of the prompt there, with its colour, shape, size, relation?

A detector with one centre map per size (so a small thing inside a large one has a cell of its
own). It is never used in training: it says what a table reports as `faithful`, GenEval's idea
(Ghosh et al. 2023, arXiv 2310.11513).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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
from hypersd.recipe import Recipe
from hypersd.shapes import captions, nets
from hypersd.shapes.pictures import odds, pictures
from hypersd.shapes.render import hidden_pixels
from hypersd.shapes.scenes import COLOURS, SHAPES, SIZES, Spec, Thing, sample_scene
from hypersd.shapes.vae import to_uint8, to_unit

COLUMNS = ("right", "shape", "colour", "size", "relation", "count")
STRIDE = 4  # pixels a cell spans
PER_SIZE = 1 + len(SHAPES) + len(COLOURS) + 2 + 1  # centre, shape, colour, offset, covered
SURE = 0.65  # of a centre; chosen on validation renders
_COLOURS = tuple(COLOURS)
_ENDS = (len(SHAPES), len(SHAPES) + len(COLOURS))  # of the shape and colour channels


@dataclass(frozen=True)
class Found:
    """A detected thing: attributes, centre in pixels, how sure, how likely it is partly hidden."""

    thing: Thing
    x: float
    y: float
    score: float
    covered: float


class OracleNet(nn.Module):
    """[B, 3, 64, 64] in [-1, 1] -> [B, 3 sizes, PER_SIZE, 16, 16]."""

    def __init__(self, width: int = 56) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nets.down(3, width // 2, 5),
            nets.Residual(width // 2),
            nets.down(width // 2, width),
            *(nets.Residual(width, dilation) for dilation in (1, 2, 4, 1)),
        )
        self.head = nn.Conv2d(width, len(SIZES) * PER_SIZE, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.head(self.body(x))
        return maps.view(len(x), len(SIZES), PER_SIZE, *maps.shape[2:])


class Oracle:
    """The trained detector and the rules that turn what it finds into a verdict."""

    def __init__(self, net: OracleNet, device: torch.device | str = "cpu") -> None:
        self.net, self.device = net.to(device).eval(), device

    @torch.no_grad()
    def find(self, images: Any) -> list[list[Found]]:
        """The things in each picture; images: uint8 [B, 64, 64, 3]."""
        maps = self.net(nets.as_input(images, self.device)).cpu()
        return [_peaks(picture) for picture in maps]

    def judge(self, images: Any, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Verdicts [B, 6] in the order of COLUMNS: 1 right, 0 wrong, nan where not said.

        A text outside the captions' grammar gives a row of nan.
        """
        found = self.find(images)
        rows = [verdict(f, captions.parse(p)) for f, p in zip(found, prompts, strict=True)]
        return np.asarray(rows, dtype=np.float32).reshape(-1, len(COLUMNS))


def verdict(found: Sequence[Found], spec: Spec | None) -> list[float]:
    """One picture's row: every attribute compared as a multiset, the relation by geometry."""
    if spec is None:
        return [math.nan] * len(COLUMNS)
    row = {"count": float(len(found) == len(spec.things))}
    for name in ("shape", "colour", "size"):
        said = Counter(getattr(thing, name) for thing in spec.things)
        row[name] = float(said == Counter(getattr(f.thing, name) for f in found))
    row["relation"] = math.nan if spec.relation is None else float(_related(found, spec))
    bound = Counter(spec.things) == Counter(f.thing for f in found)
    row["right"] = float(bound and row["relation"] != 0.0)
    return [row[name] for name in COLUMNS]


def _related(found: Sequence[Found], spec: Spec) -> bool:
    """Whether two found things, matched to the spec by shape and colour, lie as it says."""
    pair = []
    for thing in spec.things:
        same = [f for f in found if (f.thing.shape, f.thing.colour) == (thing.shape, thing.colour)]
        if len(same) != 1:
            return False
        pair.append(same[0])
    return relation_between(pair[0], pair[1]) == spec.relation


def relation_between(a: Found, b: Found) -> str:
    """How a lies to b; thresholds lie midway between what `scenes` draws.

    Of two things that touch, a is behind where it is seen to be covered. Where nothing is (of the
    scenes "in front of" one in twelve hides no pixel) the picture does not contradict the prompt.
    """
    dx, dy = a.x - b.x, a.y - b.y
    reach = SIZES[a.thing.size] + SIZES[b.thing.size]
    far = math.hypot(dx, dy) / reach
    if far < 0.35 and SIZES[a.thing.size] < SIZES[b.thing.size]:
        return "inside"
    if far < 0.95:
        return "behind" if a.covered > max(b.covered, 0.5) else "in front of"
    if abs(dx) > abs(dy):
        return "right of" if dx > 0 else "left of"
    return "below" if dy > 0 else "above"


def _peaks(maps: Tensor) -> list[Found]:
    """Local maxima whose 3x3 cells together are sure; of one thing seen at two sizes the surer.

    A centre on the edge of two cells shares its probability between them, so cells are summed.
    """
    heat = maps[:, 0].sigmoid()
    sure = F.avg_pool2d(heat, 3, stride=1, padding=1) * 9
    top = F.max_pool2d(heat, 3, stride=1, padding=1) == heat
    found = []
    for s, i, j in (top & (sure > SURE)).nonzero().tolist():
        shapes, colours, rest = torch.tensor_split(maps[s, 1:, i, j], _ENDS)
        thing = Thing(SHAPES[int(shapes.argmax())], _COLOURS[int(colours.argmax())], list(SIZES)[s])
        x, y = ((cell + float(v)) * STRIDE for cell, v in zip((j, i), rest[:2], strict=True))
        found.append(Found(thing, x, y, float(sure[s, i, j]), float(rest[2].sigmoid())))
    found.sort(key=lambda f: -f.score)
    kept: list[Found] = []
    for f in found:
        if not any(_same(f, other) for other in kept):
            kept.append(f)
    return kept


def _same(a: Found, b: Found) -> bool:
    near = math.hypot(a.x - b.x, a.y - b.y) < 5.0
    return near and (a.thing.size == b.thing.size or a.thing.colour == b.thing.colour)


def targets(split: str, start: int, count: int) -> dict[str, Tensor]:
    """Where each thing is: one row a thing, padded to 3; cell, size, shape, colour, ..."""
    rows = np.full((count, 3, 8), -1.0, dtype=np.float32)
    for n in range(count):
        scene = sample_scene(split, start + n)
        for k, (thing, place) in enumerate(zip(scene.spec.things, scene.places, strict=True)):
            u, v = place.x / STRIDE, place.y / STRIDE
            hidden = scene.spec.relation == "in front of" and k == 1 and hidden_pixels(scene) > 0
            attributes = SHAPES.index(thing.shape), _COLOURS.index(thing.colour)
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
        x = nets.disturb(nets.as_input(self.pictures[rows.numpy()], self.device), rng)
        where, values = (self.targets[k][rows].to(self.device) for k in ("where", "values"))
        if self.recipe.options.get("mirrored", False):
            half = slice(len(rows) // 2)  # of rows in random order
            x[half], where[half], values[half] = mirrored(x[half], where[half], values[half])
        return detection_loss(self.net(x), where, values, self.recipe.options.get("covered", 1.0))

    def export(self, out: Path) -> dict[str, Any]:
        from hypersd.shapes import oracle_figures  # it stands on this module

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
    shapes, colours, rest = torch.tensor_split(picked[:, 1:], _ENDS, dim=1)
    parts = {
        "centre": centre / len(b),
        "shape": F.cross_entropy(shapes, shape),
        "colour": F.cross_entropy(colours, colour),
        "offset": (rest[:, :2] - values[there][:, :2]).abs().mean(),
        "covered": F.binary_cross_entropy_with_logits(rest[:, 2], values[there][:, 2]),
    }
    loss = torch.stack(list(parts.values())).sum() + (covered - 1.0) * parts["covered"]
    return loss, {name: float(part.detach()) for name, part in parts.items()}
