"""A contestant -> what makes its images, and what is known of it (licence, cost of training)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import hub
from bench.contestants import files
from bench.errors import UsageError
from bench.results.keys import Key
from bench.results.summary import Training
from bench.suite.contestant import ANCHORS, ContestantSettings, Row
from hypersd.reference import Reference

if TYPE_CHECKING:
    import torch

    from bench.contestants.pictures import Batch
    from bench.suite.prompts import PromptSet

Source = Callable[[Sequence[Key]], "Batch"]
OWN_LICENCE = "Apache-2.0"  # of everything that the world itself draws


def source(
    row: Row, prompts: PromptSet, size: int, trained: Path | None, device: torch.device
) -> Source:
    """What makes a row's images: keys -> Batch.

    trained: the weights that a recipe gave.  Raises UsageError for files that cannot be loaded.
    """
    from bench.contestants import anchors, pictures, pipelines
    from bench.contestants.sampler import Sampler

    settings = row.settings
    if settings.source in ANCHORS:
        draw = anchors.drawing(prompts.split, settings.weights, size)
        if settings.source == "vae_round_trip":
            folder = files.base_folder(f"contestants.{settings.key}", settings)
            vae = pipelines.base(folder, device, settings.precision).vae
            return anchors.RoundTrip(draw, vae)
        shuffled = settings.source == "shuffled_captions"
        order = anchors.without_fixed_points(len(prompts.texts)) if shuffled else None
        return anchors.Real(draw, order)
    if settings.source == "images":
        return pictures.Folder(Path(settings.weights), size)
    assert row.steps is not None
    weights = trained
    if settings.source in ("lora", "unet"):
        weights = files.weight_file(f"contestants.{settings.key}", settings)
    pipeline = pipelines.pipeline(settings, weights, device)
    return Sampler(pipeline, settings.sampling, row.steps, size, compiled=settings.compiled)


def trained_weights(folder: Path) -> Path:
    """The weights in what a training exported. Raises UsageError where there are none."""
    for name in (files.LORA_FILE, "diffusion_pytorch_model.safetensors"):
        if (folder / name).is_file():
            return folder / name
    raise UsageError(f"{folder}: the training left no {files.LORA_FILE}")


def card_folder(settings: ContestantSettings, trained: Path | None) -> Path | None:
    """The folder whose README.md and training.json speak for a contestant's weights."""
    if settings.source in ("real", "shuffled_captions", "images", "random"):
        return None
    if settings.source == "recipe":
        return trained.parent if trained else None
    if settings.source in ("lora", "unet"):
        path = files.weights_path(settings.weights)
        return path if path.is_dir() else path.parent
    return files.weights_path(settings.base)


def licence(settings: ContestantSettings, trained: Path | None) -> str:
    """The licence that the weights' model card names ("license: x"), or "unknown"; and that of the
    base, where it is the hub's and has another one."""
    if settings.source in ("real", "shuffled_captions", "random"):
        return "unknown" if settings.weights else OWN_LICENCE
    own = _own_licence(settings, trained)
    base = files.remote(settings.base)
    if base is None or settings.source not in ("lora", "unet", "recipe"):
        return own
    under = published_licence(base)
    return own if own == under else f"{own}, on a base of {under}"


def _own_licence(settings: ContestantSettings, trained: Path | None) -> str:
    """The licence of a contestant's weights, whatever they stand on."""
    own = {"lora": settings.weights, "unet": settings.weights, "recipe": "", "images": ""}
    name = own.get(settings.source, settings.base)
    there = files.remote(name) if name else None
    return published_licence(there) if there else _card_licence(settings, trained)


def published_licence(reference: Reference) -> str:
    """The licence of a repository of the hub, or "unknown" before it was asked."""
    return hub.licence(reference) or "unknown"


def _card_licence(settings: ContestantSettings, trained: Path | None) -> str:
    folder = card_folder(settings, trained)
    try:
        card = (folder / "README.md").read_text(encoding="utf-8") if folder else ""
    except (OSError, UnicodeDecodeError):
        return "unknown"
    found = re.search(r"^licen[cs]e:[ ]*([\w.+-]*\w)", card, re.IGNORECASE | re.MULTILINE)
    return _spelt(found[1]) if found else "unknown"


def _spelt(licence: str) -> str:
    """Model cards write SPDX names in lower case."""
    return OWN_LICENCE if licence.lower() == OWN_LICENCE.lower() else licence


def training(settings: ContestantSettings, trained: Path | None) -> Training | None:
    """What the weights' training cost, with what it began with (a chain's earlier parts), where a
    training.json says so."""
    facts = card_facts(settings, trained)
    if "images_seen" not in facts or "seconds" not in facts:
        return None

    def whole(name: str) -> float:
        return float(facts.get(name, 0)) + float(facts.get(f"{name}_before", 0))

    return Training(
        images_seen=int(whole("images_seen")),
        unet_forwards=int(whole("unet_forwards")),
        unet_backwards=int(whole("unet_backwards")),
        seconds=whole("seconds"),
        hardware=str(facts.get("hardware", "unknown")),
    )


def card_facts(settings: ContestantSettings, trained: Path | None) -> dict[str, Any]:
    """The training.json of a contestant's weights; empty where there is none."""
    folder = card_folder(settings, trained)
    try:
        found = json.loads((folder / "training.json").read_text()) if folder else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_rewarded(settings: ContestantSettings, trained: Path | None) -> bool:
    """Whether the weights' card says that rewards were asked of their pictures."""
    return bool(card_facts(settings, trained).get("rewards"))
