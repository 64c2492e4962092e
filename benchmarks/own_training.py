"""Trains a recipe on pictures the way the peers do it, or as it really is done:
`python benchmarks/own_training.py RECIPE.yaml OUT once|each_step [device=cpu]
[vae=bf16] [text=bf16]`.

once: `hypersd.loop.train`; latents and text are encoded before the first step and cached.
each_step: every step reads its pictures, decodes them and runs the VAE and the text encoder,
each in fp32, as a training here does before its first step, or in bf16, as the peer does.
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
    """A `hypersd.data.Dataset` of a folder of pictures, with nothing kept from step to step.

    halves: which of "vae" and "text" run in bf16."""

    folder: Path
    names: list[str]
    captions: list[str]
    halves: frozenset[str] = frozenset()

    @classmethod
    def of(cls, folder: Path, halves: frozenset[str]) -> EachStep:
        """Their names and captions, which the peers hold in memory too."""
        found = list(find(FolderData(folder=str(folder))).samples())
        return cls(folder, [s.name for s in found], [str(s.caption) for s in found], halves)

    def __len__(self) -> int:
        return len(self.names)

    def samples(self, base: Base, step: int, size: int, seed: int, share: slice) -> Samples:
        """The rows `share` of a step's batch, encoded now."""
        rows = batch_rows(len(self), step, size, seed)[share]
        chosen = [(self.names[i], self.captions[i]) for i in rows.tolist()]
        pictures = [prepare((self.folder / n).read_bytes(), c, base.pixels) for n, c in chosen]
        captions = [caption for _, caption in chosen]
        time_ids = torch.tensor([p.time_ids for p in pictures])
        with self._precision(base, "vae"):
            x0 = base.encode_images(np.stack([p.pixels for p in pictures])).float().cpu()
        with self._precision(base, "text"):
            text = base.encode_prompts(captions, time_ids)
        return Samples(x0, captions, text, rows, torch.Size((size, *x0.shape[1:])))

    def _precision(self, base: Base, part: str) -> torch.autocast:
        half = part in self.halves
        return torch.autocast(base.device.type, dtype=torch.bfloat16, enabled=half)


def train_each_step(plan: recipe.Recipe, out: Path, device: str, halves: frozenset[str]) -> None:
    """As `loop.train`, with the data replaced."""
    accelerator = start(device, out / "events", plan.trackers)
    task: Any = loop.build(plan, accelerator.device)
    task.data = EachStep.of(Path(plan.data["folder"]), halves)
    run = loop._Run(plan, task, out, accelerator)
    run.go()
    run.finish(out / "final")


def main(arguments: list[str]) -> None:
    """Train."""
    path, out, how, *rest = arguments
    given = dict(word.split("=", 1) for word in rest)
    device = given.get("device", "cpu")
    plan = recipe.load(path)
    if how == "once":
        loop.train(plan, Path(out), device=device)
    else:
        Path(out).mkdir(parents=True, exist_ok=True)
        halves = frozenset(part for part in ("vae", "text") if given.get(part) == "bf16")
        train_each_step(plan, Path(out), device, halves)


if __name__ == "__main__":
    main(sys.argv[1:])
