"""The inputs of a UNet, read from its config.json without torch.

Besides noisy latents, timestep and text, diffusers' UNet2DConditionModel may require inputs
(classes, pictures, masks) that no sampler or trainer of this project gives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypersd.errors import UsageError

CLASS = "UNet2DConditionModel"
GUIDANCE = "time_cond_proj_dim"  # width of the guidance's embedding, where that is an input
USUAL: dict[str, Any] = {  # as diffusers has them where a configuration does not say
    "in_channels": 4,
    "out_channels": 4,
    "cross_attention_dim": 1280,
    "class_embed_type": None,
    "num_class_embeds": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "projection_class_embeddings_input_dim": None,
}
WORDS = {("in_channels", 9): " (of inpainting)", ("in_channels", 8): " (of editing)"}


def read(path: Path) -> dict[str, Any]:
    """A UNet's config.json. Raises UsageError where it is damaged or of another class."""
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise UsageError(f"{path}: damaged, no configuration of a {CLASS}")
    if config.get("_class_name") != CLASS:
        named = config.get("_class_name") or "no class"
        raise UsageError(f"{path}: names {named}; valid: {CLASS}")
    return config


def refuse_others(where: Path | str, config: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse a UNet that requires other inputs than are given.

    given: by field, the values that a UNet of these inputs has; other fields are ignored. Raises
    UsageError for the first field that differs.
    """
    for field, usual in USUAL.items():
        value = config.get(field, usual)
        if field in given and value != given[field]:
            words = WORDS.get((field, value), "")
            raise UsageError(f"{where}: its UNet has {field}={value}{words}, an input that it is "
                             f"not given; valid: {field}={given[field]}")  # fmt: skip


def all_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that a UNet requires, by field, for `refuse_others`."""
    return {field: config.get(field, usual) for field, usual in USUAL.items()}
