"""The model card of a contestant's weights: their licence, and what their training cost."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.contestants import files
from bench.errors import UsageError
from bench.results import hub
from bench.results.summary import Training
from bench.suite.contestant import ContestantSettings
from hypersd.reference import Reference

OWN_LICENCE = "Apache-2.0"  # of everything that the world itself draws


@dataclass(frozen=True)
class Card:
    """The facts of a contestant's weights. trained: those that its recipe trained."""

    settings: ContestantSettings
    trained: Path | None = None

    @property
    def folder(self) -> Path | None:
        """The folder of README.md and training.json; None where a contestant has no weights."""
        source, weights = self.settings.source, self.settings.weights
        if source in ("real", "shuffled_captions", "images", "random"):
            return None
        if source == "recipe":
            return self.trained.parent if self.trained else None
        if source in files.WEIGHT_FILES:
            path = files.weights_path(weights)
            return path if path.is_dir() else path.parent
        return files.weights_path(self.settings.base)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The content of training.json; empty without one."""
        try:
            found = json.loads((self.folder / "training.json").read_bytes()) if self.folder else {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def training(self) -> Training | None:
        """The cost of the training and of those it started from; None where it is not stated."""
        images, seconds = self._total("images_seen"), self._total("seconds")
        if images is None or seconds is None:
            return None
        forwards, backwards = self._total("unet_forwards"), self._total("unet_backwards")
        return Training(
            images_seen=int(images),
            unet_forwards=None if forwards is None else int(forwards),
            unet_backwards=None if backwards is None else int(backwards),
            seconds=seconds,
            hardware=str(self.facts.get("hardware", "unknown")),
        )

    def _total(self, name: str) -> float | None:
        """None where the card has no count, or no number."""
        counts = [self.facts.get(name), self.facts.get(f"{name}_before", 0)]
        return float(sum(counts)) if all(map(_is_count, counts)) else None

    @property
    def is_rewarded(self) -> bool:
        """Whether the training maximised rewards of the pictures."""
        return bool(self.facts.get("rewards"))

    @property
    def licence(self) -> str:
        """The licence that the model card names ("license: x"), or "unknown"; and those of the
        base, where it is the hub's, and of LoRAs on top, where they are others."""
        own = self._without_stack
        others = [_stacked_licence(one.lora) for one in self.settings.stack]
        others = [one for one in dict.fromkeys(others) if one != own]
        return ", with a LoRA of ".join([own, *others])

    @property
    def _without_stack(self) -> str:
        settings = self.settings
        if settings.source in ("real", "shuffled_captions", "random"):
            return "unknown" if settings.weights else OWN_LICENCE
        base = files.remote(settings.base)
        if base is None or settings.source not in (*files.WEIGHT_FILES, "recipe"):
            return self._own_licence
        own, under = self._own_licence, published_licence(base)
        return own if own == under else f"{own}, on a base of {under}"

    @property
    def _own_licence(self) -> str:
        """The licence of the weights, whatever they stand on."""
        settings = self.settings
        own = {"lora": settings.weights, "unet": settings.weights, "recipe": "", "images": ""}
        name = own.get(settings.source, settings.base)
        there = files.remote(name) if name else None
        return published_licence(there) if there else self._licence_here

    @property
    def _licence_here(self) -> str:
        return _licence_in(self.folder)


def _stacked_licence(name: str) -> str:
    """The licence of a LoRA, on the hub or by the card beside it."""
    there = files.remote(name)
    if there is not None:
        return published_licence(there)
    path = files.weights_path(name)
    return _licence_in(path if path.is_dir() else path.parent)


def _licence_in(folder: Path | None) -> str:
    """The licence that a folder's README.md names."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8") if folder else ""
    except (OSError, UnicodeDecodeError):
        return "unknown"
    found = re.search(r"^licen[cs]e:[ ]*([\w.+-]*\w)", text, re.IGNORECASE | re.MULTILINE)
    return _spelt(found[1]) if found else "unknown"


def _is_count(held: object) -> bool:
    return isinstance(held, int | float) and not isinstance(held, bool) and 0 <= held < math.inf


def _spelt(licence: str) -> str:
    """Model cards write SPDX names in lower case."""
    return OWN_LICENCE if licence.lower() == OWN_LICENCE.lower() else licence


def published_licence(reference: Reference) -> str:
    """The licence of a repository of the hub, or "unknown" before it was asked."""
    return hub.licence(reference) or "unknown"


def trained_weights(folder: Path) -> Path:
    """The weights in what a training exported. Raises UsageError where there are none."""
    for name in files.WEIGHT_FILES.values():
        if (folder / name).is_file():
            return folder / name
    raise UsageError(f"{folder}: the training left no {files.LORA_FILE}")
