"""A preference model in HPS's way: CLIP fine-tuned on which of two pictures of a prompt a pool of
raters chose (Wu et al. 2023, arXiv 2306.09341)."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer

from hypersd.errors import UsageError, nearest
from hypersd.loop import Task
from hypersd.pictures import to_unit
from hypersd.recipe import Recipe
from hypersd.shapes import captions, nets
from hypersd.shapes.clip import ATTRIBUTES, save
from hypersd.shapes.clip_model import encode_text, load, token_ids, trimmed
from hypersd.shapes.raters import POOLS, Pool, probability, utility
from hypersd.shapes.render import render
from hypersd.shapes.scenes import Scene, Spec, choose, generator, sample_places, sample_scene

VALIDATION = Pool("validation", 1.8, 1.4, {"shading": 0.4, "composition": 0.4, "clean": 0.5},
                  15_000_000)  # guards trainings; in no table  # fmt: skip
FAIR = 0.5  # difference of utilities from which a pair counts as a fair distance apart


@dataclass(frozen=True)
class Votes:
    """images: uint8 [N, 2, 64, 64, 3].  prompts: N.  utilities: [N, 2].  first: votes, [N] 0/1."""

    images: NDArray[np.uint8]
    prompts: list[str]
    utilities: NDArray[np.float64]
    first: NDArray[np.float64]


def votes(pool: Pool, offset: int, n: int) -> Votes:
    """n votes of a pool on scenes from `pool.start + offset` on: two pictures of one prompt, each
    with none, one or two values of the prompt wrong, and with a style of its own."""
    images, prompts, utilities, first = [], [], [], []
    for i in range(pool.start + offset, pool.start + offset + n):
        scene, rng = sample_scene("train", i), generator("train", i, 3)
        prompts.append(captions.caption(scene))
        pair = [drawn_wrong(scene, rng, i, side) for side in (0, 1)]
        worth = [utility(pool, agreement, picture) for picture, agreement in pair]
        images.append([render(picture) for picture, _ in pair])
        utilities.append(worth)
        first.append(float(rng.random() < probability(pool, worth[0], worth[1])))
    return Votes(np.asarray(images), prompts, np.asarray(utilities), np.asarray(first))


def drawn_wrong(
    scene: Scene, rng: np.random.Generator, index: int, side: int
) -> tuple[Scene, float]:
    """A picture's scene for the prompt of `scene`, and the share of the prompt's values it has."""
    other = sample_scene("train", 10_000_000 + 2 * index + side)  # its style and background
    spec, wrong = scene.spec, int(rng.random() * 3)
    for _ in range(wrong):
        spec = _one_wrong(spec, rng)
    values = 3 * len(set(scene.spec.things)) + 1
    places = sample_places(rng, spec)
    while places is None:
        places = sample_places(rng, spec)
    picture = dataclasses.replace(other, spec=spec, places=places, background=scene.background)
    return picture, 1.0 - wrong / values


def _one_wrong(spec: Spec, rng: np.random.Generator) -> Spec:
    found = [v for name in ATTRIBUTES if (v := _placeable(captions.variants(spec, name)))]
    return choose(rng, choose(rng, found)) if found else spec


def _placeable(specs: list[Spec]) -> list[Spec]:
    """Specs that fit the canvas: three things are never large."""
    return [s for s in specs if len(s.things) < 3 or all(t.size != "large" for t in s.things)]


def _pool(recipe: Recipe) -> Pool:
    pools, name = {**POOLS, VALIDATION.name: VALIDATION}, str(recipe.options.get("pool"))
    if name not in pools:
        raise UsageError(f"recipe {recipe.name}, options.pool={name!r}; {nearest(name, pools)}")
    return pools[name]


class PreferenceTask(Task):
    """Cross-entropy of the votes under the softmax of two scaled cosines. See `loop.Task`.

    data: clip (folder of the CLIP it is tuned from), n.  options: pool.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        folder = Path(recipe.data["clip"])
        self.model = load(folder).to(device).train()
        self.config = json.loads((folder / "open_clip_config.json").read_bytes())["model_cfg"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.modules: dict[str, nn.Module] = {"hps": self.model}
        self.pool = _pool(recipe)
        self.votes = votes(self.pool, 0, recipe.data["n"])
        self.ids = token_ids(self.tokenizer, self.votes.prompts)

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": self.model.parameters()}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(self.ids), (self.recipe.batch,), generator=rng)
        pairs = self.votes.images[rows.numpy()]
        x = to_unit(pairs.reshape(-1, *pairs.shape[2:]), self.device)
        first = torch.from_numpy(self.votes.first[rows.numpy()]).float().to(self.device)
        image = self.model.encode_image(x, normalize=True)
        image = image.view(len(rows), 2, -1)
        text = encode_text(self.model, trimmed(self.ids[rows], self.model.text_eos_id))
        scores = self.model.logit_scale.exp().clamp(max=100) * torch.einsum(
            "bkd,bd->bk", image, text
        )
        loss = F.binary_cross_entropy_with_logits(scores[:, 0] - scores[:, 1], first)
        right = ((scores[:, 0] > scores[:, 1]).float() == first).float().mean()
        return loss, {"vote_right": float(right)}

    def export(self, out: Path) -> dict[str, Any]:
        save(self.model, self.config, self.tokenizer, out)
        held_out = votes(self.pool, 500_000, 1000)
        return {"parameters": nets.parameters(self.model), **self.figures(held_out)}

    @torch.no_grad()
    def figures(self, held_out: Votes) -> dict[str, float]:
        """Agreement with the noise-free preference: on pairs a fair distance apart, on all, and
        what one vote agrees with it."""
        self.model.eval()
        ids = token_ids(self.tokenizer, held_out.prompts)
        text = encode_text(self.model, ids.to(self.device))
        flat = held_out.images.reshape(-1, *held_out.images.shape[2:])
        parts = [self.model.encode_image(to_unit(p, self.device), normalize=True)
                 for p in np.array_split(flat, 20)]  # fmt: skip
        scores = torch.einsum("bkd,bd->bk", torch.cat(parts).view(len(ids), 2, -1), text).cpu()
        gap = held_out.utilities[:, 0] - held_out.utilities[:, 1]
        right = (scores[:, 0] > scores[:, 1]).numpy() == (gap > 0)
        voted = held_out.first == (gap > 0)
        return {
            "held_out_agreement_fair": round(float(right[np.abs(gap) > FAIR].mean()), 4),
            "held_out_agreement_all": round(float(right.mean()), 4),
            "one_vote_agreement": round(float(voted.mean()), 4),
            "share_fair": round(float((np.abs(gap) > FAIR).mean()), 4),
        }
