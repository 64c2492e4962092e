"""Trains a recipe on pictures the way the peers do it, or as it really is done:
`python benchmarks/own_training.py RECIPE.yaml OUT once|each_step [device=cpu]`.

once: `hypersd.loop.train`; latents and text are encoded before the first step and cached.
each_step: every step reads its pictures, decodes them and runs the VAE and the text encoder.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hypersd import loop, recipe
from hypersd.base import Base
from hypersd.data import Samples, batch_rows
from hypersd.encoded import prepare
from hypersd.processes import start
from hypersd.sources import FolderData, find


@dataclass(frozen=True)
class EachStep:
    """A `hypersd.data.Dataset` of a folder of pictures, with nothing kept from step to step."""

    folder: Path
    names: list[str]
    captions: list[str]

    @classmethod
    def of(cls, folder: Path) -> EachStep:
        """Their names and captions, which the peers hold in memory too."""
        found = list(find(FolderData(folder=str(folder))).samples())
        return cls(folder, [s.name for s in found], [str(s.caption) for s in found])

    def __len__(self) -> int:
        return len(self.names)

    def samples(self, base: Base, step: int, size: int, seed: int, share: slice) -> Samples:
        """The rows `share` of a step's batch, encoded now; the VAE in fp32, as everywhere here."""
        rows = batch_rows(len(self), step, size, seed)[share]
        chosen = [(self.names[i], self.captions[i]) for i in rows.tolist()]
        pictures = [prepare((self.folder / n).read_bytes(), c, base.pixels) for n, c in chosen]
        with torch.autocast(base.device.type, enabled=False):
            x0 = base.encode_images(np.stack([p.pixels for p in pictures])).cpu()
            time_ids = torch.tensor([p.time_ids for p in pictures])
            captions = [caption for _, caption in chosen]
            text = base.encode_prompts(captions, time_ids)
        return Samples(x0, captions, text, rows, torch.Size((size, *x0.shape[1:])))


def train_each_step(plan: recipe.Recipe, out: Path, device: str) -> None:
    """As `loop.train`, with the data replaced."""
    accelerator = start(device, out / "events", plan.trackers)
    task: Any = loop.build(plan, accelerator.device)
    task.data = EachStep.of(Path(plan.data["folder"]))
    run = loop._Run(plan, task, out, accelerator)
    run.go()
    run.finish(out / "final")


def main(arguments: list[str]) -> None:
    """Train."""
    path, out, how, *rest = arguments
    device = dict(word.split("=", 1) for word in rest).get("device", "cpu")
    plan = recipe.load(path)
    if how == "once":
        loop.train(plan, Path(out), device=device)
    else:
        Path(out).mkdir(parents=True, exist_ok=True)
        train_each_step(plan, Path(out), device)


if __name__ == "__main__":
    main(sys.argv[1:])
