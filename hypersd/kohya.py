"""A trained LoRA in the key form of kohya's trainers, which ComfyUI and A1111 load:
`python -m hypersd.kohya DIR` writes DIR/kohya_lora_weights.safetensors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hypersd.errors import FileError, UsageError, exit_code, refused_as
from hypersd.lora import reader
from hypersd.lora.forms import TEXT_ENCODER, TEXT_ENCODER_2, UNET
from hypersd.lora.names import flat
from hypersd.lora.reader import Layer
from hypersd.whole_files import written_whole

if TYPE_CHECKING:
    from torch import Tensor

NAME = "kohya_lora_weights.safetensors"
PREFIX = {UNET: "lora_unet_", TEXT_ENCODER: "lora_te1_", TEXT_ENCODER_2: "lora_te2_"}


def convert(folder: Path) -> Path:
    """Write a LoRA or DoRA once more, beside it, in kohya's keys, each layer with an alpha that
    keeps its strength; returns the file.

    folder: or the LoRA's file.  Raises UsageError where no LoRA can be read.
    """
    from safetensors.torch import save

    with refused_as(f"LoRA {folder}"):
        path = reader.find(folder)
        layers = reader.read(path)
        state = {key: value for layer in layers for key, value in _state(layer).items()}
    with written_whole(path.with_name(NAME)) as beside:
        beside.write_bytes(save(state))
    return path.with_name(NAME)


def _state(layer: Layer) -> dict[str, Tensor]:
    import torch

    if layer.network not in PREFIX:
        raise FileError(
            f"is of a {layer.network}; valid: a LoRA of a UNet, which kohya's form names"
        )
    module = PREFIX[layer.network] + flat(layer.module)
    state = {
        f"{module}.lora_down.weight": layer.down.contiguous(),
        f"{module}.lora_up.weight": layer.up.contiguous(),
        f"{module}.alpha": torch.tensor(layer.scale * layer.rank),
    }
    if layer.magnitude is not None:
        shape = [1] * layer.down.ndim
        shape[layer.axis] = -1
        state[f"{module}.dora_scale"] = layer.magnitude.view(shape).contiguous()
    return state


def main(arguments: list[str]) -> int:
    """Convert every folder; 0 when done, 2 for what the user must change."""
    return exit_code(lambda: _convert(arguments))


def _convert(arguments: list[str]) -> None:
    if not arguments or arguments[0].startswith("-"):
        raise UsageError("usage: python -m hypersd.kohya DIR ...")
    for argument in arguments:
        print(convert(Path(argument)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
