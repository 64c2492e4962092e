"""A whole UNet's file -> weights for a network of its configuration. All of them count, or the file
is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypersd import tensor_files, unet_inputs
from hypersd.errors import FileError, UsageError, brief

KINDS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
ORIGINAL = "model.diffusion_model."
PLACES = (  # what of a configuration decides whether there is a weight
    (r"time_embedding\.cond_proj\.", "time_cond_proj_dim"),
    (r"add_embedding\.", "addition_embed_type"),
    (r"class_embedding\.", "class_embed_type"),
    (r"encoder_hid_proj\.", "encoder_hid_dim_type"),
    (r"\.transformer_blocks\.", "transformer_layers_per_block"),
    (r"\.(resnets|attentions)\.[1-9]", "layers_per_block"),
    (r"down_blocks\.", "down_block_types"),
    (r"up_blocks\.", "up_block_types"),
)
SHAPES = (  # and on its shape; where none of these does, `block_out_channels`
    (r"conv_out\.", "out_channels"),
    (r"\.attn2\.to_[kv]\.", "cross_attention_dim"),
    (r"\.proj_(in|out)\.", "use_linear_projection"),
    (r"time_embedding\.cond_proj\.", "time_cond_proj_dim"),
    (r"add_embedding\.linear_1\.", "projection_class_embeddings_input_dim"),
)


def empty(config: Path) -> Any:
    """A UNet of a configuration, without memory ("meta").

    Raises UsageError for one that makes no UNet.
    """
    import diffusers
    from accelerate import init_empty_weights

    kind: Any = diffusers.UNet2DConditionModel
    try:
        with init_empty_weights():
            return kind.from_config(unet_inputs.read(config))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{config}: makes no UNet ({brief(error, 160)})") from None


def weights_for(unet: Any, path: Path, source: Path | str) -> Mapping[str, Tensor]:
    """The weights in a file, by the names of a UNet; it may be without memory itself ("meta").

    source: where the UNet's configuration is from, for messages.  Raises FileError where the file
    is damaged, or where a weight is not the network's or missing, of another shape, not of a
    floating point kind or not finite: the first of them, and what of the configuration it
    contradicts.
    """
    held = tensor_files.read(path)[0]
    fits(unet, held, source)
    for name, value in held.items():
        if value.dtype not in KINDS:
            kind = str(value.dtype).removeprefix("torch.")
            raise FileError(f"{name} holds {kind}; valid: float32, float16, bfloat16")
        if not value.isfinite().all():
            raise FileError(f"{name} is not finite; valid: numbers only")
    return held


def fits(unet: Any, held: Mapping[str, Tensor], source: Path | str) -> None:
    """Refuse weights that are not a network's by name and shape, as `weights_for` does; they may be
    without values. Raises FileError."""
    wanted: Mapping[str, Tensor] = unet.state_dict()
    if not held.keys() & wanted.keys() and any(name.startswith(ORIGINAL) for name in held):
        raise FileError(f"a checkpoint in its original form ({ORIGINAL}*); valid: a "
                         "UNet as diffusers saves it")  # fmt: skip
    for name in held:
        if name not in wanted:
            by = _by(PLACES, name, unet)
            raise FileError(f"{name} is no weight of a UNet by {source}{by}")
    for name, value in wanted.items():
        if name not in held:
            by = _by(PLACES, name, unet)
            raise FileError(f"lacks {name}, a weight of a UNet by {source}{by}")
        mine, theirs = list(held[name].shape), list(value.shape)
        if mine != theirs:
            by = _by(_shapes(name, mine, theirs), name, unet)
            raise FileError(f"{name} is {mine}, by {source} it is {theirs}{by}")


def _shapes(name: str, mine: list[int], theirs: list[int]) -> tuple[tuple[str, str], ...]:
    is_input = name == "conv_in.weight" and mine[:1] == theirs[:1]
    return (*SHAPES, ("", "in_channels" if is_input else "block_out_channels"))


def _by(table: tuple[tuple[str, str], ...], name: str, unet: Any) -> str:
    """The field of the configuration that a weight contradicts, where one can tell."""
    field = next((field for pattern, field in table if re.search(pattern, name)), None)
    return f" ({field}={getattr(unet.config, field)})" if field else ""
