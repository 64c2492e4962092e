"""A contestant -> the source of its images: a sampler, a folder of pictures, or an anchor.

Anchors give the scale. `real`: renders of the scenes whose captions are the prompts, or the
photographs that the captions were written for. `vae_round_trip`: the same pictures, encoded and
decoded: the best that a latent model could do. `shuffled_captions`: the same pictures in an order
in which none stands beside its own prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.contestants import files, own_pipelines
from bench.contestants.own_sampler import OwnSampler
from bench.contestants.pipelines import Networks
from bench.contestants.sampler import Batch, Sampler, to_uint8
from bench.errors import UsageError, listed
from bench.results.keys import Key
from bench.results.pictures import by_note, numbered_pictures, photograph, read_picture
from bench.suite.contestant import ANCHORS, ContestantSettings, Row
from bench.suite.prompts import PromptSet
from hypersd.picture_reader import Decoded
from hypersd.pictures import to_unit

Source = Callable[[Sequence[Key]], Batch]
Pictures = Callable[[Sequence[int]], Batch]
"""Prompt numbers -> real pictures."""


def load(
    row: Row, prompts: PromptSet, size: int, weights: Path | None, networks: Networks
) -> Source:
    """The source of a row's images, valid until another row is loaded.

    weights: those that a recipe trained. networks: those in memory.  Raises UsageError for files
    that cannot be loaded, and where memory does not hold the networks.
    """
    try:
        return _load(row, prompts, size, weights, networks)
    except (torch.OutOfMemoryError, MemoryError):
        raise UsageError(
            f"contestants.{row.settings.key}: out of memory on {networks.device}: it cannot hold "
            "the networks; try precision=fp16, a smaller base=, or device=cpu"
        ) from None


def _load(
    row: Row, prompts: PromptSet, size: int, weights: Path | None, networks: Networks
) -> Source:
    settings = row.settings
    if settings.source in ANCHORS:
        return _anchor(settings, prompts, size, networks)
    if settings.source == "images":
        return Folder(Path(settings.weights), size)
    assert row.steps is not None
    if settings.source in files.WEIGHT_FILES:
        weights = files.weight_file(f"contestants.{settings.key}", settings)
    pipeline = networks.pipeline(settings, weights)
    if own_pipelines.is_own(settings):
        return OwnSampler(pipeline, settings, row.steps, size, networks.device)
    return Sampler(pipeline, settings.sampling, row.steps, size, compiled=settings.compiled)


class Folder:
    """Pictures made elsewhere, one per prompt, named by its number."""

    def __init__(self, folder: Path, size: int) -> None:
        self.read = partial(_from_files, folder, numbered_pictures(folder), read_picture, size)

    def __call__(self, keys: Sequence[Key]) -> Batch:
        """One picture per key. Raises UsageError for one that is missing or unreadable."""
        return self.read([key.index for key in keys])


def _from_files(
    folder: Path,
    found: Mapping[int, Path],
    read: Callable[[Path, int], Decoded],
    size: int,
    indices: Sequence[int],
) -> Batch:
    absent = [f"{index:05d}" for index in indices if index not in found]
    if absent:
        raise UsageError(f"images={folder}: {listed(absent)} is missing")
    pictures = [read(found[index], size) for index in indices]
    return Batch(np.stack([one.pixels for one in pictures]), notes=by_note(pictures))


def _anchor(
    settings: ContestantSettings, prompts: PromptSet, size: int, networks: Networks
) -> Source:
    pictures = _real_pictures(prompts.split, settings.weights, size)
    if settings.source == "vae_round_trip":
        return RoundTrip(pictures, networks.pipeline(settings, None).vae)
    shuffled = settings.source == "shuffled_captions"
    return Real(pictures, without_fixed_points(len(prompts.texts)) if shuffled else None)


def _real_pictures(split: str | None, folder: str, size: int) -> Pictures:
    """From a folder of photographs where one is named, else the scenes of a split of the world."""
    if folder:
        path = Path(folder)
        return partial(_from_files, path, numbered_pictures(path), photograph, size)
    assert split is not None
    return lambda indices: Batch(renders(split, indices))


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


class Real:
    """Pictures of the prompts' own scenes, or permuted by `order`."""

    def __init__(self, pictures: Pictures, order: NDArray[np.int64] | None = None) -> None:
        self.pictures, self.order = pictures, order

    def __call__(self, keys: Sequence[Key]) -> Batch:
        """One picture per key."""
        indices = [key.index if self.order is None else int(self.order[key.index]) for key in keys]
        return self.pictures(indices)


class RoundTrip:
    """Pictures encoded by a VAE (the mode of its distribution) and decoded."""

    def __init__(self, pictures: Pictures, vae: Any) -> None:
        self.pictures, self.vae = pictures, vae

    @torch.inference_mode()
    def __call__(self, keys: Sequence[Key]) -> Batch:
        """One picture per key."""
        real = self.pictures([key.index for key in keys])
        x = to_unit(real.images, self.vae.device).to(self.vae.dtype)
        is_of_videos = "QwenImage" in type(self.vae).__name__  # a picture is one of one frame
        encoded = self.vae.encode(x[:, :, None] if is_of_videos else x)
        plain = not hasattr(encoded, "latent_dist")  # SANA's gives latents, no distribution
        latents = encoded.latent if plain else encoded.latent_dist.mode()
        decoded = self.vae.decode(latents, return_dict=False)[0]
        images, broken = to_uint8(decoded[:, :, 0] if is_of_videos else decoded)
        return Batch(images, broken=broken, notes=real.notes)
