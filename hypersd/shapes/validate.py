"""Share of validation prompts that a pipeline draws right, by the validation oracle. Guidance and
recipes are chosen by it, so that test prompts and test evaluators stay unseen.

`python -m hypersd.shapes.validate [FOLDER] [guidance=2,3,5] [steps=25] [n=200]` prints one line for
each guidance scale; FOLDER is a StableDiffusionPipeline's, the shipped base's where left out.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch

from hypersd.errors import UsageError
from hypersd.shapes.evaluators import load_oracle
from hypersd.shapes.oracle import COLUMNS, Oracle
from hypersd.shapes.pictures import texts

BATCH = 50


@torch.no_grad()
def faithful(
    pipe: Any, oracle: Oracle, *, steps: int, guidance: float, n: int = 200
) -> dict[str, float]:
    """Share of n validation prompts that the oracle finds right, by column; noise of seed 0.

    pipe: a StableDiffusionPipeline of the world, ready to sample.
    """
    prompts = texts("validation", 0, n)
    size, channels = pipe.unet.config.sample_size, pipe.unet.config.in_channels
    noise = torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(0))
    rows = []
    for i in range(0, n, BATCH):
        images = pipe(
            prompts[i : i + BATCH], latents=noise[i : i + BATCH], num_inference_steps=steps,
            guidance_scale=guidance, output_type="np",
        ).images  # fmt: skip
        drawn = (images * 255).round().astype(np.uint8)
        rows.append(oracle.judge(drawn, prompts[i : i + BATCH]))
    means = np.nanmean(np.concatenate(rows), axis=0)
    return {name: float(mean) for name, mean in zip(COLUMNS, means, strict=True)}


def main(arguments: list[str]) -> int:
    """Print a line for each guidance scale; 0 when done, 2 for what the user must change."""
    from diffusers import StableDiffusionPipeline

    from hypersd.base import base_folder

    folders = [a for a in arguments if "=" not in a]
    given = dict(a.partition("=")[::2] for a in arguments if "=" in a)
    try:
        values = [float(v) for v in given.pop("guidance", "3").split(",")]
        steps, n = int(given.pop("steps", 25)), int(given.pop("n", 200))
        if given or len(folders) > 1:
            raise ValueError(f"unknown: {', '.join([*given, *folders[1:]])}")
        pipe: Any = StableDiffusionPipeline.from_pretrained(
            folders[0] if folders else base_folder("base")
        )
        oracle = load_oracle("oracle_validation")
    except (ValueError, OSError, UsageError) as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    pipe.set_progress_bar_config(disable=True)
    for value in values:
        found = faithful(pipe, oracle, steps=steps, guidance=value, n=n)
        shares = "  ".join(f"{name} {share:.3f}" for name, share in found.items())
        print(f"guidance {value:g}, {steps} steps, {n} prompts: {shares}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
