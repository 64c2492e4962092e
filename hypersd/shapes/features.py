"""The feature network behind the Frechet distance: 64 numbers a picture that know its things,
style and background, as Inception's 2048 know ImageNet."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from hypersd.loop import Task
from hypersd.pictures import to_unit
from hypersd.recipe import Recipe
from hypersd.shapes import nets
from hypersd.shapes.facts import COUNT, facts_loss, facts_of
from hypersd.shapes.oracle import PER_SIZE
from hypersd.shapes.oracle_training import detection_loss, targets
from hypersd.shapes.pictures import pictures
from hypersd.shapes.scenes import BACKGROUNDS, SIZES, Scene, sample_scene

DIMENSION = 64
CELLS = 3  # the part of the body that learns where things are, in cells of 4 pixels
OUTPUTS = {"facts": COUNT, "background": len(BACKGROUNDS), "look": 8}  # training heads and widths


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
        return self.embed(to_unit(images, next(self.parameters()).device))

    def embed(self, x: Tensor) -> Tensor:
        """float [B, 3, 64, 64] in [-1, 1] -> [B, 64]."""
        maps = self.body(x)
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        features: Tensor = self.out(pooled)
        return features


def look(scene: Scene) -> list[float]:
    """Style, composition and the background's colour, each of about one size."""
    style, hue = scene.style, math.radians(scene.background_hue)
    return [
        style.sharpness, style.shading, style.clean, scene.harmony(), scene.composition(),
        math.sin(hue), math.cos(hue), scene.background_value,
    ]  # fmt: skip


def labels(split: str, start: int, count: int) -> dict[str, Tensor]:
    """The training targets of each scene, in the layout of OUTPUTS."""
    scenes = [sample_scene(split, i) for i in range(start, start + count)]
    return {
        "facts": facts_of([scene.spec for scene in scenes]),
        "background": torch.tensor([BACKGROUNDS.index(scene.background) for scene in scenes]),
        "look": torch.tensor([look(scene) for scene in scenes]),
    }


class FeaturesTask(Task):
    """Train the features by everything a scene is made of; beside it, the body learns to find the
    things in their places. See `hypersd.loop.Task`."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        width = recipe.options["width"]
        self.net = FeatureNet(width).to(device).train()
        self.net.body[CELLS].register_forward_hook(self._keep)
        self.heads = nn.ModuleDict({k: nn.Linear(DIMENSION, n) for k, n in OUTPUTS.items()})
        self.heads["things"] = nn.Conv2d(width, len(SIZES) * PER_SIZE, 1)
        self.modules: dict[str, nn.Module] = {"net": self.net, "heads": self.heads.to(device)}
        start, n = recipe.data["start"], recipe.data["n"]
        self.pictures, self.labels = pictures("train", start, n), labels("train", start, n)
        self.targets = targets("train", start, n)

    def _keep(self, module: nn.Module, inputs: Any, cells: Tensor) -> None:
        self.cells = cells

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": [*self.net.parameters(), *self.heads.parameters()]}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(self.pictures), (self.recipe.batch,), generator=rng)
        features = self.net.embed(to_unit(self.pictures[rows.numpy()], self.device))
        parts = {
            name: _head_loss(name, self.heads[name](features), self.labels[name][rows])
            for name in OUTPUTS
        }
        maps = self.heads["things"](self.cells).float().unflatten(1, (len(SIZES), PER_SIZE))
        where, values = (self.targets[k][rows].to(self.device) for k in ("where", "values"))
        parts["things"], more = detection_loss(maps, where, values)
        loss = torch.stack(list(parts.values())).sum() + 1e-3 * features.square().mean()
        return loss, more | {name: float(part.detach()) for name, part in parts.items()}

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
        found = {name: self.heads[name](features).cpu() for name in OUTPUTS}
        facts = (found["facts"] > 0) == (truth["facts"] > 0)
        background = found["background"].argmax(1) == truth["background"]
        error = (found["look"] - truth["look"]).square().mean()
        figures = {
            "held_out_facts": facts.float().mean(),
            "held_out_all_facts": facts.all(dim=1).float().mean(),
            "held_out_background": background.float().mean(),
            "held_out_look_error": error,
        }
        return {name: round(float(value), 4) for name, value in figures.items()}


def _head_loss(name: str, found: Tensor, truth: Tensor) -> Tensor:
    found, truth = found.float(), truth.to(found.device)
    if name == "facts":
        return 0.2 * facts_loss(found, truth)
    if name == "look":
        return 8.0 * F.mse_loss(found, truth)
    return F.cross_entropy(found, truth)
