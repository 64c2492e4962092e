"""Several LoRAs as one, exactly: `python -m hypersd.merge DIR[:WEIGHT] ... out=DIR`.

The sum of B_i A_i is the product of [w_1 B_1, w_2 B_2, ...] and [A_1; A_2; ...], a LoRA whose rank
is the sum of theirs. So what feedback learned is added to a distilled adapter at any weight.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hypersd.errors import UsageError, exit_code

if TYPE_CHECKING:
    from torch import Tensor

USAGE = "usage: python -m hypersd.merge DIR[:WEIGHT] DIR[:WEIGHT] ... out=DIR"


def merge(parts: Sequence[tuple[Path, float]], out: Path) -> Path:
    """Write the weighted sum of exported LoRAs, alpha = rank as theirs, into `out`, which may be
    one of theirs; returns the file.

    Raises UsageError where one cannot be read, or they are not of one base.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    from hypersd.student import WEIGHT_NAME

    states = []
    for folder, weight in parts:
        try:
            states.append((load_file(folder / WEIGHT_NAME), weight))
        except (OSError, SafetensorError) as error:
            raise UsageError(f"LoRA {folder}: {str(error).splitlines()[0]}") from None
    first = states[0][0]
    for (folder, _), (state, _) in zip(parts, states, strict=True):
        if {k: _sizes(k, v) for k, v in state.items()} != {
            k: _sizes(k, v) for k, v in first.items()
        }:
            raise UsageError(f"LoRA {folder}: of another base than {parts[0][0]}")
    merged = {}
    for key, value in first.items():
        axis = _rank_axis(key)
        pieces = [state[key].float() * (weight if axis else 1.0) for state, weight in states]
        merged[key] = torch.cat(pieces, dim=axis).to(value.dtype).contiguous()
    out.mkdir(parents=True, exist_ok=True)
    save_file(merged, out / WEIGHT_NAME)
    return out / WEIGHT_NAME


def _sizes(key: str, factor: Tensor) -> list[int]:
    """A factor's shape without its rank: A is [rank, ...], B [outputs, rank, ...]."""
    shape = list(factor.shape)
    del shape[_rank_axis(key)]
    return shape


def _rank_axis(key: str) -> int:
    return 1 if ".lora_B." in key else 0


def main(arguments: list[str]) -> int:
    """Merge; 0 when done, 2 for what the user must change."""
    return exit_code(lambda: _merge(arguments))


def _merge(arguments: list[str]) -> None:
    out = [a.removeprefix("out=") for a in arguments if a.startswith("out=")]
    parts = [_part(a) for a in arguments if not a.startswith("out=")]
    if len(out) != 1 or len(parts) < 2:
        raise UsageError(USAGE)
    print(merge(parts, Path(out[0])))


def _part(argument: str) -> tuple[Path, float]:
    folder, colon, weight = argument.rpartition(":")
    if not colon:
        return Path(argument), 1.0
    try:
        return Path(folder), float(weight)
    except ValueError:
        raise UsageError(f"{argument}: weight {weight!r}; valid: a number") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
