"""The keys (prompt, seed) of images, and the fixed slices of work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypersd.hashes import digest

SLICE = 100


@dataclass(frozen=True)
class Key:
    """One image: prompt number `index` with its text, drawn with `seed`."""

    index: int
    prompt: str
    seed: int


def ordered(texts: Sequence[str], seeds: Sequence[int]) -> list[Key]:
    """Every key, seed by seed: more seeds leave the slices of the first ones as they are."""
    return [Key(index, text, seed) for seed in seeds for index, text in enumerate(texts)]


def slices(keys: Sequence[Key]) -> list[tuple[Key, ...]]:
    """The whole list in fixed pieces of 100, the last one shorter."""
    return [tuple(keys[start : start + SLICE]) for start in range(0, len(keys), SLICE)]


def needed(pieces: Sequence[tuple[Key, ...]], limit: int | None) -> list[tuple[Key, ...]]:
    """The pieces that hold a prompt below `limit`: all of them where it is None."""
    return [p for p in pieces if limit is None or any(key.index < limit for key in p)]


def image_key(contestant: str, key: Key, size: int) -> str:
    """The cache key of an image: a hash of contestant, prompt, seed and size (a contract)."""
    return digest([contestant, key.prompt, key.seed, size])


def slice_key(contestant: str, keys: Sequence[Key], size: int) -> str:
    """The name of a slice's images in the cache."""
    return digest([image_key(contestant, key, size) for key in keys])
