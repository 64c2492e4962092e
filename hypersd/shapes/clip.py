"""CLIP of the embedded world: a small open_clip model (hybrid picture tower, causal text tower)
trained on scenes and captions of its own, with captions that differ in one value as negatives.

Web captions tell a large CLIP what is where and how a picture looks; here small heads, used in
training alone, say so: the things' places from the stem's features, facts and look from the
embeddings.
"""

from __future__ import annotations

import json
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from hypersd.loop import Task
from hypersd.pictures import to_unit
from hypersd.recipe import Recipe
from hypersd.shapes import captions, nets, raters, tower
from hypersd.shapes.clip_model import (
    CONTEXT,
    build,
    encode_text,
    load,
    pooled_text,
    token_ids,
    trimmed,
)
from hypersd.shapes.facts import FactsHead, facts_loss, facts_of
from hypersd.shapes.oracle import PER_SIZE
from hypersd.shapes.oracle_training import detection_loss, targets
from hypersd.shapes.pictures import pictures
from hypersd.shapes.scenes import SIZES, Scene, Spec, generator, sample_scene
from hypersd.shapes.spec_head import SpecHead, spec_labels, spec_loss
from hypersd.shapes.teacher import END, build_tokenizer

READERS = 2  # times as many captions a step where the text tower reads alone
SPEC = 5.0  # weight of the spec in its order, beside the facts, where the text tower reads alone
NEGATIVES = 5  # captions with one wrong value, per picture and step
CELLS = f"{tower.STEM}.5"  # the part of the picture tower that learns where things are
ATTRIBUTES = ("shape", "colour", "size", "relation", "count")
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def config(options: dict[str, Any], vocabulary: int, end: int) -> dict[str, Any]:
    """The open_clip model config. Pooling goes by the end token's id, not by the highest id."""
    return {
        "embed_dim": options["embed"],
        "vision_cfg": {"image_size": 64, "timm_model_name": tower.NAME, "timm_pool": "map",
                       "timm_proj": "linear"},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": vocabulary, "width": 96, "heads": 3,
                     "layers": 2, "pool_type": "eos", "eos_id": end, "hf_tokenizer_name": "."},
    }  # fmt: skip


def one_wrong(spec: Spec, rng: np.random.Generator, count: int) -> list[Spec]:
    """`count` specs that differ in one value each: attributes in turn, relations first."""
    pools = [found for name in ("relation", *ATTRIBUTES[:3], "count")
             if (found := captions.variants(spec, name))]  # fmt: skip
    return [pool[int(rng.random() * len(pool))] for pool in (pools * count)[:count]]


class Pairs:
    """Pictures with their right caption and captions that are wrong in one value, as token ids;
    `styled` [n] tells which captions name a style."""

    def __init__(self, tokenizer: Any, start: int, n: int) -> None:
        self.pictures = pictures("train", start, n)
        self.styled = torch.zeros(n, dtype=torch.bool)
        said: list[str] = []
        for i in range(n):
            scene = sample_scene("train", start + i)
            rng = generator("train", start + i, 1)
            phrasing = captions.sample_phrasing(rng, scene)
            self.styled[i] = styled = rng.random() < 0.5
            if styled:
                phrasing = captions.with_style_words(phrasing, rng, scene)
            specs = [scene.spec, *one_wrong(scene.spec, rng, NEGATIVES - styled)]
            said += [captions.phrase(spec, phrasing) for spec in specs]
            if styled:
                said.append(captions.phrase(scene.spec, captions.wrong_style(phrasing, rng)))
        parts = [token_ids(tokenizer, said[i : i + 5000]) for i in range(0, len(said), 5000)]
        self.ids = torch.cat(parts).to(torch.int16).view(n, NEGATIVES + 1, CONTEXT)


class ClipTask(Task):
    """Contrast within the batch, and against captions with one wrong value; the stem's features
    learn to name the things in their places, the embeddings to hold facts and look. A `Task`.

    options: embed, things, facts and look (weights of their losses), init (an exported folder, to
    train on).  data: start, n.  stages: steps each; in one of `reading` the text tower alone learns
    the facts and the spec in its order, READERS times as many captions a step: beside pictures, or
    by facts alone, it stays for long at a place where "left of" and "right of" are one.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.tokenizer = build_tokenizer(Path(f"runs/cache/tokenizer-{recipe.identity}"))
        self.end = self.tokenizer.convert_tokens_to_ids(END)
        self.config = config(recipe.options, len(self.tokenizer), self.end)
        init = recipe.options.get("init")
        self.model = (load(init) if init else build(self.config)).to(device).train()
        self.heads = nn.ModuleDict({
            "things": nn.Conv2d(tower.WIDTHS[CELLS], len(SIZES) * PER_SIZE, 1),
            "facts": FactsHead(recipe.options["embed"]),
            "spec": SpecHead(recipe.options["embed"]),
            "look": _look_head(recipe.options["embed"]),
            **{_look_name(name): _look_head(width) for name, width in tower.WIDTHS.items()},
        }).to(device)  # fmt: skip
        self.features: dict[str, Tensor] = {}
        for name in tower.WIDTHS:
            part = self.model.visual.trunk.get_submodule(name)
            part.register_forward_hook(partial(self._keep, name))
        self.modules: dict[str, nn.Module] = {"clip": self.model, "heads": self.heads}
        start, n = recipe.data["start"], recipe.data["n"]
        self.data = Pairs(self.tokenizer, start, n)
        self.targets = targets("train", start, n)
        scenes = [sample_scene("train", i) for i in range(start, start + n)]
        self.looks = torch.tensor([look(scene) for scene in scenes])
        self.facts = facts_of([scene.spec for scene in scenes])
        self.specs = torch.from_numpy(spec_labels("train", start, n))

    def _keep(self, name: str, module: nn.Module, inputs: Any, features: Tensor) -> None:
        self.features[name] = features

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": [*self.model.parameters(), *self.heads.parameters()]}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        reading = self._reading(step)
        size = self.recipe.batch * (READERS if reading else 1)
        rows = torch.randint(len(self.data.ids), (size,), generator=rng)
        return self._read(rows) if reading else self._match(rows)

    def _reading(self, step: int) -> bool:
        """Whether a step belongs to a stage of reading."""
        ends = accumulate(stage["steps"] for stage in self.recipe.stages)
        found = (stage for stage, end in zip(self.recipe.stages, ends, strict=True) if step < end)
        return bool(next(found, {}).get("reading", False))

    def _read(self, rows: Tensor) -> tuple[Tensor, dict[str, float]]:
        ids = trimmed(self.data.ids[rows, 0].long().to(self.device), self.end)
        text = pooled_text(self.model, ids).float()
        facts = facts_loss(self.heads["facts"](text), self.facts[rows].to(self.device))
        spec, scalars = spec_loss(self.heads["spec"](text), self.specs[rows].to(self.device))
        return facts + SPEC * spec, scalars | {"said": float(facts.detach())}

    def _match(self, rows: Tensor) -> tuple[Tensor, dict[str, float]]:
        x = to_unit(self.data.pictures[rows.numpy()], self.device)
        ids = trimmed(self.data.ids[rows].long().to(self.device), self.end)
        image = self.model.encode_image(x).float()
        text = pooled_text(self.model, ids.flatten(0, 1)).view(*ids.shape[:2], -1).float()
        with torch.autocast(self.device.type, enabled=False):
            scale = self.model.logit_scale.exp().clamp(max=100)
            normal = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
            contrast, scalars = contrast_loss(*normal, scale)
        parts = {
            **self._facts_loss(image, text[:, 0], rows),
            "look": self._look_loss(normal[0], rows),
        }
        parts["things"], more = self._things_loss(rows)
        weights = {**self.recipe.options, "said": self.recipe.options["facts"]}
        loss = contrast + torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return loss, scalars | more | {name: float(v.detach()) for name, v in parts.items()}

    def _facts_loss(self, image: Tensor, text: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """The facts' loss of picture and caption embeddings, by one head."""
        truth, head = self.facts[rows].to(self.device), self.heads["facts"]
        return {"facts": facts_loss(head(image), truth), "said": facts_loss(head(text), truth)}

    def _things_loss(self, rows: Tensor) -> tuple[Tensor, dict[str, float]]:
        maps = self.heads["things"](self.features[CELLS]).float()
        where, values = (self.targets[k][rows].to(self.device) for k in ("where", "values"))
        return detection_loss(maps.unflatten(1, (len(SIZES), PER_SIZE)), where, values)

    def _look_loss(self, image: Tensor, rows: Tensor) -> Tensor:
        """Squared error of the look, by the embedding and by every part of the stem."""
        truth = self.looks[rows].to(self.device)
        means = {_look_name(k): v.float().mean(dim=(2, 3)) for k, v in self.features.items()}
        found = {"look": image, **means}
        return torch.stack(
            [F.mse_loss(self.heads[k](v).float(), truth) for k, v in found.items()]
        ).sum()

    def export(self, out: Path) -> dict[str, Any]:
        save(self.model, self.config, self.tokenizer, out)
        figures = {f"held_out_{k}": v for k, v in accuracy(self.model, self.tokenizer).items()}
        return {"parameters": nets.parameters(self.model), **figures}


def _look_name(part: str) -> str:
    """A module's name may hold no dot."""
    return f"look_{part.rsplit('.', 1)[-1]}"


def _look_head(width: int) -> nn.Sequential:
    """A linear head on standardised features: means over a picture differ little from another's."""
    return nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, len(raters.WEIGHTS)))


def look(scene: Scene) -> list[float]:
    """The five qualities of `raters.qualities`, each about zero."""
    return [value - 0.5 for value in raters.qualities(scene).values()]


def contrast_loss(image: Tensor, text: Tensor, scale: Tensor) -> tuple[Tensor, dict[str, float]]:
    """CLIP's symmetric loss within the batch, and twice the one of each picture's own captions.

    image: [B, D].  text: [B, 1 + NEGATIVES, D], the right caption first.  Both normalised.
    """
    truth = torch.arange(len(image), device=image.device)
    logits = scale * image @ text[:, 0].T
    batch = (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2
    hard = scale * torch.einsum("bd,bkd->bk", image, text)
    own = F.cross_entropy(hard, torch.zeros_like(truth))
    right = float((hard.argmax(1) == 0).float().mean())
    scalars = {"contrast": float(batch.detach()), "hard": float(own.detach()), "hard_right": right}
    return batch + 2 * own, scalars


def save(model: open_clip.CLIP, cfg: dict[str, Any], tokenizer: Any, out: Path) -> None:
    """Write an open_clip local-dir folder, fp16: config, weights, tokenizer."""
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "squash"}
    document = {"model_cfg": cfg, "preprocess_cfg": preprocess}
    (out / "open_clip_config.json").write_text(
        json.dumps(document, indent=1) + "\n", encoding="utf-8"
    )
    state = {name: _half(value).contiguous() for name, value in model.state_dict().items()}
    save_file(state, out / "open_clip_model.safetensors")
    tokenizer.save_pretrained(out)


def _half(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


@torch.no_grad()
def accuracy(model: open_clip.CLIP, tokenizer: Any, count: int = 600) -> dict[str, float]:
    """Share of validation pictures whose right caption beats every one that differs in one value
    of an attribute, per attribute."""
    model.eval()
    shown = pictures("validation", 0, 1000)[:count]
    device = next(model.parameters()).device
    images = torch.cat([
        model.encode_image(to_unit(part, device), normalize=True)
        for part in np.split(shown, count // 100)
    ])  # fmt: skip
    right: dict[str, list[bool]] = {name: [] for name in ATTRIBUTES}
    for i in range(count):
        scene = sample_scene("validation", i)
        phrasing = captions.sample_phrasing(generator("validation", i, 1), scene)
        for name in ATTRIBUTES:
            wrong = captions.variants(scene.spec, name)
            if wrong:
                said = [captions.phrase(s, phrasing) for s in (scene.spec, *wrong)]
                ids = trimmed(token_ids(tokenizer, said), model.text_eos_id)
                text = encode_text(model, ids.to(device))
                right[name].append(int((text @ images[i]).argmax()) == 0)
    return {name: round(float(np.mean(found)), 4) for name, found in right.items()}
