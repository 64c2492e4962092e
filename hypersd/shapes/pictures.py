"""Rendered pictures kept on disk, so that a training reads instead of drawing again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from hypersd.shapes import captions
from hypersd.shapes.render import render
from hypersd.shapes.scenes import CANVAS, sample_scene
from hypersd.whole_files import written_whole

if TYPE_CHECKING:
    from torch import Tensor

CACHE = Path("runs/cache/pictures")
WORLD_VERSION = 2  # raise it when a scene or its picture changes


def pictures(split: str, start: int, count: int, cache: Path = CACHE) -> NDArray[np.uint8]:
    """The renders of scenes [start, start + count): [count, 64, 64, 3] uint8, memory-mapped."""
    path = cache / f"v{WORLD_VERSION}-{split}-{start}-{count}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        shape = (count, CANVAS, CANVAS, 3)
        with written_whole(path) as beside:
            array = np.lib.format.open_memmap(beside, "w+", np.uint8, shape)
            for i in track(range(count), f"rendering {split}"):
                array[i] = render(sample_scene(split, start + i))
            array.flush()
    found: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return found


def texts(split: str, start: int, count: int, *, with_style: bool = False) -> list[str]:
    """The captions of the same scenes."""
    indices = range(start, start + count)
    return [captions.caption(sample_scene(split, i), with_style=with_style) for i in indices]


def odds(split: str, start: int, count: int, often: dict[str, float]) -> Tensor:
    """[count] how often each scene shall be drawn: `often` for its relation, else 1."""
    import torch  # here, since a plan reads WORLD_VERSION

    relations = (sample_scene(split, start + i).spec.relation for i in range(count))
    return torch.tensor([float(often.get(r, 1)) if r else 1.0 for r in relations])
