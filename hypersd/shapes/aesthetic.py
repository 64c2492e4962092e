"""Training of the aesthetic head (`hypersd.shapes.aesthetic_head`)."""

from __future__ import annotations

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
from hypersd.shapes import clip_model, nets, raters
from hypersd.shapes.aesthetic_head import AestheticHead
from hypersd.shapes.pictures import pictures
from hypersd.shapes.scenes import generator, sample_scene


class AestheticTask(Task):
    """Squared error to single ratings with rater noise, on a frozen CLIP. See `loop.Task`.

    data: clip (folder), start, n.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.clip = clip_model.load(recipe.data["clip"]).to(device).eval()
        self.head = AestheticHead(self.clip.text_projection.shape[1]).to(device)
        self.modules: dict[str, nn.Module] = {"head": self.head}
        start, n = recipe.data["start"], recipe.data["n"]
        self.embeddings = self.embed(pictures("train", start, n))
        self.mean = self.embeddings.mean(0)
        self.deviation = self.embeddings.std(0) * len(self.mean) ** 0.5  # the head takes this root
        rated = [raters.rated(sample_scene("train", i), generator("train", i, 3))
                 for i in range(start, start + n)]  # fmt: skip
        self.ratings = torch.tensor(rated, dtype=torch.float32, device=device)

    @torch.no_grad()
    def embed(self, images: Any) -> Tensor:
        """uint8 [N, 64, 64, 3] -> [N, D]."""
        parts = [images[i : i + 100] for i in range(0, len(images), 100)]
        inputs = (to_unit(part, self.device) for part in parts)
        return torch.cat([self.clip.encode_image(x, normalize=True) for x in inputs])

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": self.head.parameters()}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(self.ratings), (self.recipe.batch,), generator=rng)
        standard = (self.embeddings[rows] - self.mean) / self.deviation
        return F.mse_loss(self.head(standard), self.ratings[rows]), {}

    def export(self, out: Path) -> dict[str, Any]:
        from scipy.stats import spearmanr  # half a second, which scoring needs not spend

        self.head.fold(self.mean, self.deviation)
        save_file(self.head.half().state_dict(), out / "model.safetensors")
        self.head.float()
        count = 1000
        truth = [raters.rating(sample_scene("validation", i)) for i in range(count)]
        with torch.no_grad():
            found = self.head(self.embed(pictures("validation", 0, count))).cpu().numpy()
        rank = float(spearmanr(found, truth).statistic)
        error = float(np.abs(found - truth).mean())
        figures = {"held_out_spearman": round(rank, 4), "held_out_mean_error": round(error, 3)}
        return {"parameters": nets.parameters(self.head), **figures}
