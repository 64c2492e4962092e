"""The world's scenes as training data: `data: {set: shapes/train, n: 4000}` of a recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from rich.progress import track
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hypersd.base import Base
from hypersd.console import console
from hypersd.data import Samples, batch_rows, default_cache
from hypersd.errors import brief
from hypersd.shapes.captions import caption
from hypersd.shapes.pictures import WORLD_VERSION, texts
from hypersd.shapes.render import render
from hypersd.shapes.scenes import SPLITS, sample_scene
from hypersd.validation import Count, one_of, read
from hypersd.whole_files import written_whole

SETS = tuple(f"shapes/{split}" for split in SPLITS)
ENCODE_BATCH = 50


@dataclass(frozen=True, kw_only=True)
class SceneData:
    """A recipe's `data`. set: one of SETS.  n: its first scenes."""

    set: Annotated[str, one_of(SETS)] = "shapes/train"
    n: Count


@dataclass(frozen=True, eq=False)
class LatentDataset:
    """latents: [n, C, H, W] fp16, VAE-scaled.  captions: n texts."""

    latents: Tensor
    captions: list[str]

    def batch(self, step: int, size: int, seed: int) -> tuple[Tensor, list[str]]:
        """The samples of a step: latents [size, C, H, W] fp32 and captions.

        Every pass goes through all samples once, in an order of its own.
        """
        rows = batch_rows(len(self.captions), step, size, seed)
        return self.latents[rows].float(), [self.captions[i] for i in rows.tolist()]

    def __len__(self) -> int:
        return len(self.captions)

    def samples(self, base: Base, step: int, size: int, seed: int, share: slice) -> Samples:
        """The rows `share` of a step's batch; prompts are encoded as they are needed."""
        rows = batch_rows(len(self), step, size, seed)[share]
        captions = [self.captions[i] for i in rows.tolist()]
        shape = torch.Size((size, *self.latents.shape[1:]))
        text = base.encode_prompts(captions)
        return Samples(self.latents[rows].float(), captions, text, rows, shape)

    def prompts(self, count: int) -> list[str]:
        """Captions of validation scenes, whatever the set is."""
        return texts("validation", 0, count)


def load_dataset(data: Mapping[str, Any], base: Base, cache: Path | None = None) -> LatentDataset:
    """The world's data for a recipe, `{set: shapes/train, n: 4000}`, encoded by the base's VAE.

    Kept in `cache` (default `runs/cache/latents`), keyed by the VAE, the set, n and the world's
    version; a damaged file is made again. Raises UsageError for an unknown set or key, or a bad n.
    """
    given = read(SceneData, data, "data", where="recipe")
    name, n = given.set, given.n
    cache = cache or default_cache()
    key = json.dumps({"vae": base.vae_sha256(), "set": name, "n": n, "world": WORLD_VERSION})
    path = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
    found = _read(path)
    if found is None:
        found = _encode(name.removeprefix("shapes/"), n, base)
        _write(path, found)
    return found


def _encode(split: str, n: int, base: Base) -> LatentDataset:
    latents, texts = [], []
    starts = range(0, n, ENCODE_BATCH)
    title = f"rendering and encoding {n} scenes of shapes/{split}"
    for start in track(starts, title, console=console(stderr=True)):
        scenes = [sample_scene(split, i) for i in range(start, min(start + ENCODE_BATCH, n))]
        pictures = np.stack([render(scene) for scene in scenes])
        latents.append(base.encode_images(pictures).half().cpu())
        texts += [caption(scene) for scene in scenes]
    return LatentDataset(torch.cat(latents), texts)


def _write(path: Path, dataset: LatentDataset) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    captions, latents = json.dumps(dataset.captions), dataset.latents.contiguous()
    metadata = {"captions": captions, "sha256": _checksum(latents, captions)}
    with written_whole(path) as beside:
        save_file({"latents": latents}, beside, metadata=metadata)


def _checksum(latents: Tensor, captions: str) -> str:
    found = hashlib.sha256(latents.numpy().data)
    found.update(captions.encode())
    return found.hexdigest()


def _read(path: Path) -> LatentDataset | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about, latents = file.metadata(), file.get_tensor("latents")
        captions = about["captions"]
        if about.get("sha256") not in (None, _checksum(latents, captions)):  # None: an older file
            raise ValueError("its checksum is wrong")
        return LatentDataset(latents, json.loads(captions))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        print(f"{path}: damaged ({brief(error)}); made again", flush=True)
        return None
