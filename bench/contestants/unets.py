"""A contestant's UNet by its configuration; torch is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contestants import files
from bench.errors import UsageError
from bench.suite.contestant import ContestantSettings
from hypersd import unet_inputs


def check(where: str, settings: ContestantSettings) -> None:
    """Refuse a UNet that requires other inputs than the base's, and one that takes guidance as an
    input where the suite gives none.

    Raises UsageError, also where files are missing or damaged.
    """
    base = files.base_folder(where, settings) / "unet" / "config.json"
    own = _own(where, settings)
    config = unet_inputs.read(own or base)
    if own is not None:
        unet_inputs.refuse_others(own, config, unet_inputs.all_of(unet_inputs.read(base)))
    if config.get(unet_inputs.GUIDANCE) is not None and settings.sampling.guidance <= 1:
        raise UsageError(
            f"{where}: its UNet takes guidance as an input, and nothing says how much; valid: "
            f"{where}.guidance=8.5, as LatentConsistencyModelPipeline has it, or another above 1"
        )


def takes_guidance(settings: ContestantSettings) -> bool:
    """Whether its UNet takes the guidance as an input, and so needs no second evaluation."""
    where = f"contestants.{settings.key}"
    try:
        path = _own(where, settings) or files.base_folder(where, settings) / "unet" / "config.json"
        config: dict[str, Any] = unet_inputs.read(path)
    except UsageError:
        return False
    return config.get(unet_inputs.GUIDANCE) is not None


def _own(where: str, settings: ContestantSettings) -> Path | None:
    """The configuration beside its weights, where that counts."""
    if settings.source != "unet":
        return None
    return files.unet_config(settings, files.weight_file(where, settings))
