"""Training data: latents with captions, from real pictures or from a source in `KINDS`.

Which samples a step sees is a function of (seed, step) alone: every method that is trained with
one seed and batch size sees the same pictures in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol

import torch
from torch import Tensor

from hypersd.base import Base
from hypersd.conditions import Text, moved
from hypersd.encoded import EncodedPictures, load_pictures
from hypersd.sources import SOURCES

WORLD = "set"
KINDS = {  # a recipe's key -> which callable opens a `Dataset` of its `data`, for a base
    WORLD: "hypersd.shapes.data:load_dataset",
    **dict.fromkeys(SOURCES, "hypersd.data:load_real"),
}


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
    """The source of a method's pictures and captions."""

    def __len__(self) -> int:
        """How many samples there are."""

    def samples(self, base: Base, step: int, size: int, seed: int, share: slice) -> Samples:
        """The rows `share` of a step's batch of `size`."""

    def prompts(self, count: int) -> list[str]:
        """Prompts for validation pictures of recipes that name none; at most as many as there
        are."""


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
        return Samples(x0, captions, moved(text, base.device), rows, shape)

    def prompts(self, count: int) -> list[str]:
        """The captions of the first pictures."""
        return self.pictures.captions(range(min(count, len(self))))


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
    """A recipe's data, by the key that says where they come from."""
    kind = next((key for key in KINDS if key in data), WORLD)
    dataset: Dataset = resolve_name(KINDS[kind])(data, base)
    return dataset


def load_real(data: Mapping[str, Any], base: Base) -> PictureDataset:
    """Real pictures (`hypersd.encoded`), kept in `pictures` beside `default_cache`."""
    return PictureDataset(load_pictures(data, base, default_cache().with_name("pictures")))


def default_cache() -> Path:
    """`runs/cache/latents`, or `latents` in the folder that HYPERSD_CACHE names."""
    return Path(os.environ.get("HYPERSD_CACHE", "runs/cache")) / "latents"
