"""Training data: latents with their captions, of the embedded world or of real pictures.

Which samples a step sees is a function of (seed, step) alone: every method that is trained with
one seed and batch size sees the same pictures in the same order.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hypersd.base import Base
from hypersd.conditions import SdxlText, Text
from hypersd.errors import UsageError, brief, nearest
from hypersd.pictures import EncodedPictures, load_pictures
from hypersd.shapes.captions import caption
from hypersd.shapes.pictures import WORLD_VERSION
from hypersd.shapes.render import render
from hypersd.shapes.scenes import SPLITS, sample_scene
from hypersd.sources import KINDS
from hypersd.whole_files import written_whole

SETS = tuple(f"shapes/{split}" for split in SPLITS)
ENCODE_BATCH = 50


@dataclass(frozen=True, eq=False)
class Samples:
    """Some rows of a step's batch: x0 [b, C, H, W] fp32 on the CPU; text on the base's device.

    rows: which of the data they are, [b].  shape: of the whole batch's latents, [B, C, H, W].
    """

    x0: Tensor
    captions: list[str]
    text: Text
    rows: Tensor
    shape: torch.Size


class Dataset(Protocol):
    """What a method draws its pictures and captions from."""

    def __len__(self) -> int:
        """How many samples there are."""

    def samples(self, base: Base, step: int, size: int, seed: int, share: slice) -> Samples:
        """The rows `share` of a step's batch of `size`."""


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


@dataclass(frozen=True, eq=False)
class PictureDataset:
    """Real pictures, latents and text read from the cache."""

    pictures: EncodedPictures

    def __len__(self) -> int:
        return len(self.pictures)

    def samples(self, base: Base, step: int, size: int, seed: int, share: slice) -> Samples:
        """The rows `share` of a step's batch."""
        rows = batch_rows(len(self), step, size, seed)[share]
        x0, captions, text = self.pictures.read(rows.tolist())
        shape = torch.Size((size, *x0.shape[1:]))
        return Samples(x0, captions, _moved(text, base.device), rows, shape)


def _moved(text: Text, device: torch.device) -> Text:
    if isinstance(text, Tensor):
        return text.to(device)
    return SdxlText(*(part.to(device) for part in (text.states, text.pooled, text.time_ids)))


def batch_rows(n: int, step: int, size: int, seed: int) -> Tensor:
    """The rows of a step, [size] int64: positions step * size on, of n-long passes end to end."""
    positions = torch.arange(step * size, (step + 1) * size)
    passes = positions // n
    orders = {p: _order(n, seed, p) for p in set(passes.tolist())}
    rows = [orders[p][i] for p, i in zip(passes.tolist(), (positions % n).tolist(), strict=True)]
    return torch.stack(rows)


def _order(n: int, seed: int, number: int) -> Tensor:
    """The order of a pass. torch takes the low 32 bits of a seed; the loop seeds its steps with
    seed * 1,000,003 + step, and passes count down from the next seed's first."""
    rng = torch.Generator().manual_seed((seed + 1) * 1_000_003 - 1 - number)
    return torch.randperm(n, generator=rng)


def open_dataset(data: Mapping[str, Any], base: Base) -> Dataset:
    """A recipe's data: the world's (`set: shapes/...`) or real pictures (`hypersd.pictures`)."""
    if any(kind in data for kind in KINDS):
        return PictureDataset(load_pictures(data, base, default_cache().with_name("pictures")))
    return load_dataset(data, base)


def load_dataset(data: Mapping[str, Any], base: Base, cache: Path | None = None) -> LatentDataset:
    """The world's data of a recipe, `{set: shapes/train, n: 4000}`, encoded by the base's VAE.

    Kept in `cache` (default `runs/cache/latents`), keyed by the VAE, the set, n and the world's
    version; a damaged file is made again. Raises UsageError for an unknown set or key, or a bad n.
    """
    name, n = _validated(data)
    cache = cache or default_cache()
    key = json.dumps({"vae": base.vae_sha256(), "set": name, "n": n, "world": WORLD_VERSION})
    path = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
    found = _read(path)
    if found is None:
        found = _encode(name.removeprefix("shapes/"), n, base)
        _write(path, found)
    return found


def default_cache() -> Path:
    """`runs/cache/latents`, or `latents` in the folder that HYPERSD_CACHE names."""
    return Path(os.environ.get("HYPERSD_CACHE", "runs/cache")) / "latents"


def _validated(data: Mapping[str, Any]) -> tuple[str, int]:
    for key in data:
        if key not in ("set", "n"):
            raise UsageError(
                f"recipe, data: unknown key {key!r}; {nearest(str(key), ('set', 'n'))}"
            )
    name, n = data.get("set", "shapes/train"), data.get("n")
    if name not in SETS:
        raise UsageError(f"recipe, data.set={name!r}; {nearest(str(name), SETS)}")
    if not isinstance(n, int) or n < 1:
        raise UsageError(f"recipe, data.n={n!r}; valid: a number of scenes, at least 1")
    return str(name), n


def _encode(split: str, n: int, base: Base) -> LatentDataset:
    latents, texts = [], []
    starts = range(0, n, ENCODE_BATCH)
    title = f"rendering and encoding {n} scenes of shapes/{split}"
    for start in track(starts, title, console=Console(stderr=True)):
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
