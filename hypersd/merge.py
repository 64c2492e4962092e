"""Adds several LoRAs into one, exactly: `python -m hypersd.merge DIR[:WEIGHT] ... out=DIR`.

The sum of B_i A_i is the product of [w_1 B_1, w_2 B_2, ...] and [A_1; A_2; ...], a LoRA whose rank
is the sum of theirs. This adds a feedback adapter to a distilled one at any weight.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from hypersd.errors import FileError, UsageError, exit_code, refused_as
from hypersd.lora import reader
from hypersd.lora.reader import Layer
from hypersd.whole_files import written_whole

if TYPE_CHECKING:
    from torch import Tensor

EXACT = 1e-3  # of B, relative
USAGE = "usage: python -m hypersd.merge DIR[:WEIGHT] DIR[:WEIGHT] ... out=DIR"


def merge(parts: Sequence[tuple[Path, float]], out: Path) -> Path:
    """Write the weighted sum of LoRAs, whatever their alphas, into `out`, which may be one of
    theirs, with alpha = rank; returns the file.

    Raises UsageError where one cannot be read or is a DoRA, or they are not of one base.
    """
    from safetensors.torch import save

    from hypersd.lora.reader import WEIGHT_NAME

    read = [(folder, _layers(folder), weight) for folder, weight in parts]
    first = read[0][1]
    for folder, layers, _ in read:
        if {k: _shape(v) for k, v in layers.items()} != {k: _shape(v) for k, v in first.items()}:
            raise UsageError(f"LoRA {folder}: of another base than {parts[0][0]}")
    merged: dict[str, Tensor] = {}
    for module in first:
        down, up = _sum([(layers[module], weight) for _, layers, weight in read])
        merged |= {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
    out.mkdir(parents=True, exist_ok=True)
    with written_whole(out / WEIGHT_NAME) as beside:
        beside.write_bytes(save(merged))
    return out / WEIGHT_NAME


def _layers(folder: Path) -> dict[str, Layer]:
    """A LoRA's layers by network and module."""
    with refused_as(f"LoRA {folder}"):
        layers = reader.read(reader.find(folder))
        for layer in layers:
            if layer.kohya or layer.magnitude is not None:
                what = "in kohya's keys" if layer.kohya else "a DoRA, which is no sum"
                raise FileError(f"is {what}; valid: a LoRA in keys of diffusers or PEFT")
    return {f"{layer.network}.{layer.module}": layer for layer in layers}


def _shape(layer: Layer) -> list[int]:
    return [len(layer.up), *layer.down.shape[1:]]


def _sum(summands: Sequence[tuple[Layer, float]]) -> tuple[Tensor, Tensor]:
    """A and B of a weighted sum, in a precision that holds all of theirs; B in fp32 where a small
    weight or a large one would cost it more than EXACT."""
    import torch

    kinds = (factor.dtype for layer, _ in summands for factor in (layer.down, layer.up))
    dtype = reduce(torch.promote_types, kinds)
    down = torch.cat([layer.down.to(dtype) for layer, _ in summands])
    ups = [layer.up.float() * (weight * layer.scale) for layer, weight in summands]
    exact = torch.cat(ups, dim=1)
    if not exact.isfinite().all():
        raise UsageError(f"{summands[0][0].module}: B is too large for fp32 at these weights")
    up = exact.to(dtype)
    lost = (up.float() - exact).norm()
    return down, up if lost <= EXACT * exact.norm() else exact


def main(arguments: list[str]) -> int:
    """Merge; 0 when done, 2 for what the user must change."""
    return exit_code(lambda: _merge(arguments))


def _merge(arguments: list[str]) -> None:
    out = [a.removeprefix("out=") for a in arguments if a.startswith("out=")]
    parts = [_part(a) for a in arguments if not a.startswith("out=")]
    if len(out) != 1 or not out[0] or len(parts) < 2:
        raise UsageError(USAGE)
    print(merge(parts, Path(out[0])))


def _part(argument: str) -> tuple[Path, float]:
    folder, colon, weight = argument.rpartition(":")
    if not colon or "/" in weight or "\\" in weight:  # the colon is a drive's, or a folder's
        return Path(argument), 1.0
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{argument}: weight {weight!r}; valid: a number")
    return Path(folder), number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
