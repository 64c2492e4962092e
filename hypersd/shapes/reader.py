"""The base's text encoder learns to read before the UNet learns to draw.

SD begins with a finished CLIP. A text encoder that is trained together with its UNet learns late
which of two things is the left one; learning the captions' specs first takes minutes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypersd.loop import Task
from hypersd.recipe import Recipe
from hypersd.shapes.pictures import texts
from hypersd.shapes.spec_head import SpecHead, spec_labels, spec_loss
from hypersd.shapes.teacher import build_text_encoder, build_tokenizer, token_ids

HELD_OUT = 1000


class ReaderTask(Task):
    """Read the spec and the expected places off the pooled state. See `hypersd.loop.Task`.

    data: n.  options: width, layers.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.tokenizer = build_tokenizer(Path(tempfile.mkdtemp()))
        options = recipe.options
        self.text = build_text_encoder(self.tokenizer, options["width"], options["layers"])
        self.modules: dict[str, nn.Module] = {
            "text": self.text.to(device), "reader": SpecHead(options["width"]).to(device),
        }  # fmt: skip
        self.ids, self.specs = self._data("train", recipe.data["n"])

    def _data(self, split: str, n: int) -> tuple[Tensor, Tensor]:
        ids = token_ids(self.tokenizer, texts(split, 0, n)).to(torch.int16)
        return ids, torch.from_numpy(spec_labels(split, 0, n))

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": [p for m in self.modules.values() for p in m.parameters()]}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(self.ids), (self.recipe.batch,), generator=rng)
        return self._read(self.ids[rows], self.specs[rows])

    def _read(self, ids: Tensor, specs: Tensor) -> tuple[Tensor, dict[str, float]]:
        pooled = self.text(ids.long().to(self.device)).pooler_output
        return spec_loss(self.modules["reader"](pooled), specs.to(self.device))

    @torch.no_grad()
    def export(self, out: Path) -> dict[str, Any]:
        self.text.save_pretrained(out, safe_serialization=True)
        figures = self._read(*self._data("validation", HELD_OUT))[1]
        return {f"held_out_{name}": round(value, 4) for name, value in figures.items()}
