"""Seconds per image: measured by earlier runs (`<cache>/costs.json`), guessed before the first."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from bench.contestants import files
from bench.results import hub
from bench.suite.suite import Suite
from hypersd.whole_files import alone, written_whole

# Of the world, on two CPU cores.
WORLD = {"unet": 2.1e-3, "vae": 4e-3, "render": 2.5e-3, "score": 6e-3, "train": 16e-3}
# Of one picture of a megapixel of SDXL on a GPU of a data centre, fp16, no compilation. `unet`:
# 30 guided steps took 7.35 s on an A100 (a published table of SDXL's optimisations); the others
# are guesses (`train`: a step takes some eight evaluations and gradients).
MEGAPIXEL = {"unet": 0.12, "vae": 0.3, "render": 2.5e-3, "score": 0.1, "train": 1.0}
# Work of a network per pixel, SDXL's as one (about 12 TFLOP a megapixel). SD1.5's does about an
# eighth; a transformer 2 x weights x tokens: 4,096 of the picture and a few hundred of text.
WORK = {"sd15": 1 / 8, "sd3": 1.5, "flux2": 3, "z_image": 4.5, "flux": 9, "qwen_image": 14}
CPU = 1000.0  # a CPU of a few cores takes about so many times as long; a guess


def expected(suite: Suite, device: str, cache: Path) -> dict[str, float]:
    """Seconds by stage: measured by earlier runs with the same cost key, else guessed.

    device: "cuda", "mps" or "cpu".
    """
    found, key = _read(cache), cost_key(suite, device)
    guesses = guessed(suite, device)
    return {stage: found.get(f"{stage}{key}", seconds) for stage, seconds in guesses.items()}


def cost_key(suite: Suite, device: str) -> str:
    """The cost key: what measured seconds depend on, as a suffix of their names; "" for the
    world."""
    family = _family(suite)
    return "" if family is None else f"@{family}/{suite.size}/{device}"


def remember(cache: Path, key: str, costs: Mapping[str, float]) -> None:
    """Store measured seconds for the next plan; failing to write the cache is no error."""
    with contextlib.suppress(OSError), alone(cache / "costs.json"):
        known = _read(cache) | {f"{name}{key}": value for name, value in costs.items()}
        with written_whole(cache / "costs.json") as beside:
            beside.write_text(json.dumps(known), encoding="utf-8")


def _family(suite: Suite) -> str | None:
    """The family of the networks that take most of the time; None for the world's."""
    if not suite.published:
        return None
    there = files.remote(suite.contestants[0].base)
    return (hub.family(there.repo) if there else None) or "other"


def guessed(suite: Suite, device: str) -> dict[str, float]:
    """Seconds by stage before anything was measured: alike on every machine."""
    family = _family(suite)
    if family is None:
        return dict(WORLD)
    scale = suite.size**2 / 2**20 * (CPU if device == "cpu" else 1.0)
    found = {name: value * scale for name, value in MEGAPIXEL.items()}
    return found | {"unet": found["unet"] * WORK.get(family, 1.0)}


def _read(cache: Path) -> dict[str, float]:
    try:
        found = json.loads((cache / "costs.json").read_bytes())
        return {name: float(value) for name, value in found.items() if 0 <= float(value) < 1e6}
    except (OSError, ValueError, TypeError, AttributeError):  # none yet, or damaged: guess again
        return {}
