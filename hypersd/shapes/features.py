"""The feature network behind the Frechet distance: 64 numbers a picture that know its things,
style and background, as Inception's 2048 know ImageNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from hypersd.loop import Task
from hypersd.recipe import Recipe
from hypersd.shapes import nets
from hypersd.shapes.pictures import pictures
from hypersd.shapes.scenes import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES, sample_scene

DIMENSION = 64
PAIRS = len(SHAPES) * len(COLOURS)
OUTPUTS = {  # what the training heads predict: name -> width
    "pairs": PAIRS, "sizes": len(SIZES), "count": 3, "relation": len(RELATIONS) + 1,
    "background": len(BACKGROUNDS), "look": 8,
}  # fmt: skip


class FeatureNet(nn.Module):
    """uint8 [B, 64, 64, 3] -> [B, 64]; `heads` exist for training alone."""

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        first = nets.down(3, width // 2, 5)
        nets.see_fine_detail(first[0])
        self.body = nn.Sequential(
            first,
            nets.down(width // 2, width),
            nets.Residual(width),
            nets.Residual(width, 2),
            nets.down(width, 2 * width),
            nets.Residual(2 * width),
        )
        self.out = nn.Linear(4 * width, DIMENSION)

    def forward(self, images: Any) -> Tensor:
        return self.embed(nets.as_input(images, next(self.parameters()).device))

    def embed(self, x: Tensor) -> Tensor:
        """float [B, 3, 64, 64] in [-1, 1] -> [B, 64]."""
        maps = self.body(x)
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        features: Tensor = self.out(pooled)
        return features


def labels(split: str, start: int, count: int) -> dict[str, Tensor]:
    """What a feature should know of each scene, in the layout of OUTPUTS."""
    colours, sizes = list(COLOURS), list(SIZES)
    table = {name: np.zeros((count, width), np.float32) for name, width in OUTPUTS.items()}
    for n in range(count):
        scene = sample_scene(split, start + n)
        for thing in scene.spec.things:
            pair = SHAPES.index(thing.shape) * len(COLOURS) + colours.index(thing.colour)
            table["pairs"][n, pair] = table["sizes"][n, sizes.index(thing.size)] = 1.0
        table["count"][n, len(scene.spec.things) - 1] = 1.0
        relation = scene.spec.relation
        table["relation"][n, RELATIONS.index(relation) if relation else -1] = 1.0
        table["background"][n, BACKGROUNDS.index(scene.background)] = 1.0
        style, hue = scene.style, np.deg2rad(scene.background_hue)
        table["look"][n] = (
            style.sharpness, style.shading, scene.harmony(), style.clean, scene.composition(),
            np.sin(hue), np.cos(hue), scene.background_value,
        )  # fmt: skip
    return {name: torch.from_numpy(values) for name, values in table.items()}


class FeaturesTask(Task):
    """Train the features by everything a scene is made of. See `hypersd.loop.Task`."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.net = FeatureNet(recipe.options["width"]).to(device).train()
        self.heads = nn.ModuleDict({k: nn.Linear(DIMENSION, n) for k, n in OUTPUTS.items()})
        self.modules: dict[str, nn.Module] = {"net": self.net, "heads": self.heads.to(device)}
        start, n = recipe.data["start"], recipe.data["n"]
        self.pictures, self.labels = pictures("train", start, n), labels("train", start, n)

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": [*self.net.parameters(), *self.heads.parameters()]}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(self.pictures), (self.recipe.batch,), generator=rng)
        x = nets.as_input(self.pictures[rows.numpy()], self.device)
        features = self.net.embed(x)
        parts = {}
        for name, head in self.heads.items():
            truth = self.labels[name][rows].to(self.device)
            parts[name] = _head_loss(name, head(features), truth)
        loss = torch.stack(list(parts.values())).sum() + 1e-3 * features.square().mean()
        return loss, {name: float(part.detach()) for name, part in parts.items()}

    def export(self, out: Path) -> dict[str, Any]:
        state = {name: value.half() for name, value in self.net.state_dict().items()}
        save_file(state, out / "model.safetensors")
        sizes = {"width": self.recipe.options["width"], "parameters": nets.parameters(self.net)}
        return sizes | self.figures()

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """How much the features know of held-out scenes, by the training heads."""
        self.net.eval()
        shown, truth = pictures("validation", 0, 1000), labels("validation", 0, 1000)
        features = torch.cat([self.net(x) for x in np.split(shown, 10)])
        found = {name: head(features).cpu() for name, head in self.heads.items()}
        pairs = ((found["pairs"] > 0) == (truth["pairs"] > 0)).all(dim=1)
        figures = {"held_out_pairs": float(pairs.float().mean())}
        for name in ("count", "relation", "background"):
            right = found[name].argmax(1) == truth[name].argmax(1)
            figures[f"held_out_{name}"] = float(right.float().mean())
        return {name: round(value, 4) for name, value in figures.items()}


def _head_loss(name: str, found: Tensor, truth: Tensor) -> Tensor:
    if name in ("pairs", "sizes"):
        loss = F.binary_cross_entropy_with_logits(found, truth)
        return loss * (10.0 if name == "pairs" else 1.0)
    if name == "look":
        return 4.0 * F.mse_loss(found, truth)
    return F.cross_entropy(found, truth)
