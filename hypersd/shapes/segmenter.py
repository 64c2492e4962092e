"""The world's instance segmenter, in the place of SOLO: a category and a mask for every thing.

A thing belongs to the grid cell its centre lies in, on the grid of its size, as SOLO's do by scale.
Each cell says which shape it holds and gives a kernel; the kernel times the mask features is the
thing's mask. `instance_loss` is per picture, so it trains the network and, with the network frozen,
a generator (the perceptual loss of Hyper-SD's feedback learning).
Source: SOLOv2 (Wang et al. 2020, arXiv 2003.10152); dice loss of V-Net (Milletari et al. 2016).

Legend: B pictures, K things at most, G cells a side, M mask pixels a side, E channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from hypersd.loop import Task
from hypersd.pictures import to_unit
from hypersd.recipe import Recipe
from hypersd.shapes import nets
from hypersd.shapes.oracle_training import targets
from hypersd.shapes.pictures import pictures
from hypersd.shapes.render import draw
from hypersd.shapes.scenes import CANVAS, MAX_THINGS, SHAPES, SIZES, sample_scene

GRID, MASK, CHANNELS = 16, 32, 16
SURE = 0.5  # of a category, for a thing to be reported


@dataclass(frozen=True, eq=False)
class Maps:
    """The network's output: categories [B, sizes, shapes, G, G] (logits), kernels [B, sizes, E,
    G, G], features [B, E, M, M]."""

    categories: Tensor
    kernels: Tensor
    features: Tensor


@dataclass(frozen=True, eq=False)
class Instances:
    """The truth: where [B, K, 4] size, row, column, shape (-1: none); masks [B, K, M, M] bool."""

    where: Tensor
    masks: Tensor

    def rows(self, index: Any) -> Instances:
        """The instances of some pictures."""
        return Instances(self.where[index], self.masks[index])


class SegmenterNet(nn.Module):
    """float [B, 3, 64, 64] in [-1, 1] -> Maps."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.stem = nn.Sequential(nets.down(3, width // 2, 5), nets.Residual(width // 2))
        self.body = nn.Sequential(
            nets.down(width // 2, width), *(nets.Residual(width, d) for d in (1, 2, 4, 1))
        )
        self.head = nn.Conv2d(width, len(SIZES) * (len(SHAPES) + CHANNELS), 1)
        self.masks = nn.Sequential(
            nn.Conv2d(width + width // 2, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, CHANNELS, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Maps:
        fine = self.stem(x)
        coarse = self.body(fine)
        head = self.head(coarse).unflatten(1, (len(SIZES), -1))
        wide = F.interpolate(coarse, scale_factor=2, mode="bilinear")
        categories, kernels = torch.split(head, [len(SHAPES), CHANNELS], dim=2)
        return Maps(categories, kernels, self.masks(torch.cat([wide, fine], dim=1)))


def instances(split: str, start: int, count: int) -> Instances:
    """The truth of scenes [start, start + count), visible parts only."""
    masks = np.zeros((count, MAX_THINGS, MASK, MASK), dtype=bool)
    side = CANVAS // MASK
    for n in track(range(count), f"masks of {split}"):
        found = draw(sample_scene(split, start + n))[1]
        masks[n, : len(found)] = found.reshape(-1, MASK, side, MASK, side).mean((2, 4)) >= 0.5
    return Instances(targets(split, start, count)["where"][..., :4], torch.from_numpy(masks))


def instance_loss(maps: Maps, truth: Instances) -> tuple[Tensor, Tensor]:
    """Focal loss of the categories and dice loss of the masks at the true cells: two of [B], fp32.

    Things without a visible pixel count as categories only.
    """
    there = truth.where[..., 0] >= 0
    b = torch.arange(len(there), device=there.device)[:, None].expand_as(there)[there]
    size, i, j, shape = truth.where[there].unbind(1)
    logits = maps.categories.float()
    aim = torch.zeros_like(logits)
    aim[b, size, shape, i, j] = 1.0
    wrong = (aim - logits.sigmoid()).abs().square()
    focal = wrong * F.binary_cross_entropy_with_logits(logits, aim, reduction="none")
    kernels = maps.kernels[b, size, :, i, j].float()
    drawn = torch.einsum("ne,nehw->nhw", kernels, maps.features.float()[b]).float().sigmoid()
    masks = truth.masks[there].to(drawn)
    overlap, total = (drawn * masks).sum((1, 2)), (drawn.square() + masks).sum((1, 2))
    seen = masks.sum((1, 2)) > 0
    dice = torch.zeros(len(there), device=drawn.device)
    dice = dice.index_add(0, b, (1 - (2 * overlap + 1) / (total + 1)) * seen)
    return focal.sum((1, 2, 3, 4)), dice / there.sum(1).clamp_min(1)


@torch.no_grad()
def segment(net: SegmenterNet, images: Any) -> list[list[tuple[str, NDArray[np.bool_]]]]:
    """The things found in uint8 [B, 64, 64, 3]: shape and mask [M, M] each, the surest first."""
    maps = net(to_unit(images, next(net.parameters()).device))
    sure = maps.categories.sigmoid()
    best, shapes = sure.max(dim=2)
    peaks = (F.max_pool2d(best, 3, stride=1, padding=1) == best) & (best > SURE)
    found: list[list[tuple[str, NDArray[np.bool_]]]] = [[] for _ in range(len(best))]
    places = peaks.nonzero()
    for n, s, i, j in places[best[peaks].argsort(descending=True)].tolist():
        mask = torch.einsum("e,ehw->hw", maps.kernels[n, s, :, i, j], maps.features[n]) > 0
        found[n].append((SHAPES[int(shapes[n, s, i, j])], mask.cpu().numpy()))
    return found


class SegmenterTask(Task):
    """Train the segmenter on scenes of its own. See `hypersd.loop.Task`.

    data: start, n.  options: width.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.net = SegmenterNet(recipe.options["width"]).to(device).train()
        self.modules: dict[str, nn.Module] = {"net": self.net}
        start, n = recipe.data["start"], recipe.data["n"]
        self.pictures, self.truth = pictures("train", start, n), instances("train", start, n)

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": self.net.parameters()}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(self.pictures), (self.recipe.batch,), generator=rng)
        x = nets.disturb(to_unit(self.pictures[rows.numpy()], self.device), rng)
        truth = self.truth.rows(rows)
        truth = Instances(truth.where.to(self.device), truth.masks.to(self.device))
        focal, dice = (part.mean() for part in instance_loss(self.net(x), truth))
        scalars = {"category": float(focal.detach()), "mask": float(dice.detach())}
        return focal + 3 * dice, scalars

    def export(self, out: Path) -> dict[str, Any]:
        state = {name: value.half() for name, value in self.net.state_dict().items()}
        save_file(state, out / "model.safetensors")
        sizes = {"width": self.recipe.options["width"], "parameters": nets.parameters(self.net)}
        return sizes | accuracy(self.net)


def accuracy(net: SegmenterNet, count: int = 1000) -> dict[str, float]:
    """On validation renders: share of visible things found with their shape and a mask of
    intersection over union 0.5 or more, share of what is found that is one of them, mean IoU."""
    net.eval()
    shown, truth = pictures("validation", 0, count), instances("validation", 0, count)
    found = [f for part in np.array_split(shown, 20) for f in segment(net, part)]
    hits, overlaps = 0, []
    for n, things in enumerate(found):
        left = list(things)
        for k in range(MAX_THINGS):
            mask = truth.masks[n, k].numpy()
            if not mask.any():
                continue
            name = SHAPES[int(truth.where[n, k, 3])]
            scores = [_iou(mask, other) if shape == name else 0.0 for shape, other in left]
            overlaps.append(max(scores, default=0.0))
            if overlaps[-1] >= 0.5:
                hits += 1
                left.pop(int(np.argmax(scores)))
    reported = sum(map(len, found))
    return {
        "held_out_recall": round(hits / len(overlaps), 4),
        "held_out_precision": round(hits / max(1, reported), 4),
        "held_out_iou": round(float(np.mean(overlaps)), 4),
    }


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))
