"""Anchors: images that give the scale, from the world's own renders or a folder of photographs.

`real`: renders of the very scenes whose captions are the prompts, or the photographs that the
captions were written for. `vae_round_trip`: those, encoded and decoded, the best a latent model
could do.
`shuffled_captions`: those pictures in an order in which no picture meets its own prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contestants.pictures import Batch
from bench.contestants.sampler import to_uint8
from bench.results.keys import Key
from bench.results.pictures import photographs


def renders(split: str, indices: Sequence[int]) -> NDArray[np.uint8]:
    """The pictures of scenes: [B, 64, 64, 3] uint8."""
    from hypersd.shapes.render import render
    from hypersd.shapes.scenes import sample_scene

    return np.stack([render(sample_scene(split, index)) for index in indices])


def without_fixed_points(n: int, seed: int = 0) -> NDArray[np.int64]:
    """A permutation of n >= 2 items that moves each of them: one cycle in a random order."""
    order = np.random.default_rng(seed).permutation(n)
    moved = np.empty(n, np.int64)
    moved[order] = np.roll(order, -1)
    return moved


Draw = Callable[[Sequence[int]], NDArray[np.uint8]]
"""Prompt numbers -> real pictures [B, H, W, 3] uint8."""


def drawing(split: str | None, folder: str, size: int) -> Draw:
    """Where real pictures come from: a folder of photographs where one is named, else the scenes
    of a split of the world."""
    if folder:
        return partial(photographs, Path(folder), size)
    assert split is not None
    return partial(renders, split)


class Real:
    """Pictures of the prompts' own scenes, or of others' where `order` says whose."""

    def __init__(self, draw: Draw, order: NDArray[np.int64] | None = None) -> None:
        self.draw, self.order = draw, order

    def __call__(self, keys: Sequence[Key]) -> Batch:
        """One picture per key."""
        indices = [key.index if self.order is None else int(self.order[key.index]) for key in keys]
        return Batch(self.draw(indices))


class RoundTrip:
    """Pictures that went through a VAE: the mode of its encoding, decoded."""

    def __init__(self, draw: Draw, vae: Any) -> None:
        self.draw, self.vae = draw, vae

    def __call__(self, keys: Sequence[Key]) -> Batch:
        """One picture per key."""
        import torch

        pictures = self.draw([key.index for key in keys])
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(self.vae.device).float() / 127.5 - 1
        with torch.inference_mode():
            latents = self.vae.encode(x.to(self.vae.dtype)).latent_dist.mode()
            images, broken = to_uint8(self.vae.decode(latents, return_dict=False)[0])
        return Batch(images, broken=broken)
