"""The evaluator CLIP trained on, so that noise, blur and JPEG do not move its scores.

Few-step pictures carry grain. A CLIP that has seen only clean pictures takes it for content, so its
score also measures grain, which is the task of the raters' heads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer

from hypersd.loop import Task
from hypersd.pictures import to_unit
from hypersd.recipe import Recipe
from hypersd.shapes import clip, clip_model, corruptions, nets
from hypersd.shapes.pictures import pictures, texts


class RobustClipTask(Task):
    """CLIP's contrast of clean pictures and of corrupted ones, whose cosines with captions are held
    where the clean ones have them. See `loop.Task`.

    Only the picture tower is trained. Captions that name a style ("grainy", "sharp") are not
    compared with corrupted pictures, for which they are false; and clean pictures keep the
    embeddings that they had, so that heads on them still see the style.

    data: start, n.  options: init (an exported folder); weights beside the contrast of clean
    pictures: corrupted (the contrast of corrupted ones), scores, kept.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        folder = Path(recipe.options["init"])
        self.config = json.loads((folder / "open_clip_config.json").read_bytes())["model_cfg"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.before = clip_model.load(folder).to(device).eval().requires_grad_(False)
        self.model = clip_model.load(folder).to(device).train().requires_grad_(False)
        self.model.visual.requires_grad_(True)
        self.modules: dict[str, nn.Module] = {"clip": self.model}
        self.data = clip.Pairs(self.tokenizer, recipe.data["start"], recipe.data["n"])

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": self.model.visual.parameters()}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(self.data.ids), (self.recipe.batch,), generator=rng)
        clean = to_unit(self.data.pictures[rows.numpy()], self.device)
        plain = (~self.data.styled[rows]).nonzero()[:, 0].to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            x = torch.cat([clean, corruptions.corrupted(clean[plain], rng)])
        image = F.normalize(self.model.encode_image(x).float(), dim=-1)
        text, before = self._before(rows, clean)
        with torch.autocast(self.device.type, enabled=False):
            return self._loss(image[: len(rows)], image[len(rows) :], plain, text, before)

    @torch.no_grad()
    def _before(self, rows: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings to keep: of captions [B, 1 + NEGATIVES, D], and of clean pictures before
        the training [B, D]."""
        ids = clip_model.trimmed(self.data.ids[rows].long().to(self.device), self.model.text_eos_id)
        text = clip_model.pooled_text(self.before, ids.flatten(0, 1)).float()
        text = text.view(*ids.shape[:2], -1)
        image = self.before.encode_image(clean, normalize=True).float()
        return F.normalize(text, dim=-1), image

    def _loss(
        self, clean: Tensor, corrupted: Tensor, plain: Tensor, text: Tensor, before: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """plain: the rows of clean pictures that the corrupted ones show again."""
        scale = self.model.logit_scale.exp().clamp(max=100)
        loss, scalars = clip.contrast_loss(clean, text, scale)
        again, found = clip.contrast_loss(corrupted, text[plain], scale)
        parts = {
            "corrupted": again,
            "scores": scores_loss(corrupted, clean[plain].detach(), text[plain]),
            "kept": (clean - before).square().sum(1).mean(),
        }
        for name, part in parts.items():
            loss = loss + self.recipe.options[name] * part
        scalars |= {f"corrupted_{name}": value for name, value in found.items()}
        return loss, scalars | {name: float(part.detach()) for name, part in parts.items()}

    def export(self, out: Path) -> dict[str, Any]:
        clip.save(self.model, self.config, self.tokenizer, out)
        figures = {**clip.accuracy(self.model, self.tokenizer), **self._lost()}
        named = {f"held_out_{name}": value for name, value in figures.items()}
        return {"parameters": nets.parameters(self.model), **named}

    @torch.no_grad()
    def _lost(self, count: int = 600) -> dict[str, float]:
        """`lost` of validation pictures' cosines with their captions."""
        self.model.eval()
        said = clip_model.token_ids(self.tokenizer, texts("validation", 0, count)).to(self.device)
        text = clip_model.encode_text(self.model, clip_model.trimmed(said, self.model.text_eos_id))

        def score(shown: Tensor, further: int) -> float:
            parts = [self.model.encode_image(x, normalize=True) for x in torch.split(shown, 100)]
            return float((torch.cat(parts) * text.roll(further, 0)).sum(1).mean())

        shown = pictures("validation", 0, 1000)[:count]
        return lost(score, to_unit(shown, self.device))


def scores_loss(corrupted: Tensor, clean: Tensor, text: Tensor) -> Tensor:
    """Mean squared difference of two views' cosines: with each picture's own captions, and with the
    right captions of the batch.

    corrupted, clean: [B, D].  text: [B, 1 + NEGATIVES, D], the right caption first.  All
    normalised.
    """
    change = corrupted - clean
    own = torch.einsum("bd,bkd->bk", change, text)
    return own.square().mean() + (change @ text[:, 0].T).square().mean()


def lost(score: Callable[[Tensor, int], float], x: Tensor) -> dict[str, float]:
    """Pictures' mean score against their captions less that against each other's (`span`), and the
    share of it that each corruption costs.

    score: of pictures like x against the captions so many places further.  x: [B, 3, H, W].
    """
    of = x.new_ones(len(x))
    grain = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    views = {
        "noise_15": corruptions.noised(x, of * 15 / 255, grain),
        "jpeg_50": corruptions.jpeg(x, of * 50),
        "blur_0_8": corruptions.blurred(x, of * 0.8),
    }
    real = score(x, 0)
    span = real - score(x, 1)
    shares = {f"lost_{name}": (real - score(view, 0)) / span for name, view in views.items()}
    return {name: round(value, 4) for name, value in {"span": span, **shares}.items()}
