"""Weights that begin at random, the same for a seed wherever they are trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside the block torch draws on the CPU by a seed; afterwards it goes on as before.

    Other devices are left alone: `fork_rng` as it comes makes a context on every GPU of a node, in
    every process, and fails on Apple's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
