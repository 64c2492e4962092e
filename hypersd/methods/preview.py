"""A picture of what a student does: validation prompts, drawn in 1, 2, 4 and 8 steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hypersd.base import Base
from hypersd.sampler import sample_consistency, sample_jumps
from hypersd.shapes.captions import caption
from hypersd.shapes.scenes import sample_scene
from hypersd.solver import Network, SolverGrid

STEPS = (1, 2, 4, 8)
PROMPTS = 8
SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "jumps": sample_jumps,  # deterministic: DDIM's moves
    "consistency": sample_consistency,  # LCM's: predict x0, add fresh noise
}


@torch.no_grad()
def write_preview(path: Path, base: Base, network: Network, grid: SolverGrid, sampler: str) -> None:
    """Write a PNG: one row for each of 1, 2, 4 and 8 steps, one column per validation prompt.

    Noise comes from a fixed seed, the same for all rows, steps of training and methods.
    sampler: a key of `SAMPLERS`.
    """
    text = base.encode_prompts([caption(sample_scene("validation", i)) for i in range(PROMPTS)])
    rng = torch.Generator().manual_seed(0)
    size = int(base.unet.config.sample_size)
    shape = (max(STEPS), PROMPTS, int(base.unet.config.in_channels), size, size)
    noise = torch.randn(shape, generator=rng).to(base.device)

    def model(x: Tensor, t: Tensor) -> Tensor:
        return network(x, t, text)

    rows = []
    for steps in (n for n in STEPS if n <= grid.points):
        timesteps = grid.inference(steps)
        latents = SAMPLERS[sampler](
            model, noise[0], timesteps, base.schedule, noise=list(noise[1:])
        )
        rows.append(np.concatenate(list(base.decode(latents)), axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows, axis=0)).save(path)
