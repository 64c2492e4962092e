"""A trained LoRA in the key form of kohya's trainers, which ComfyUI and A1111 load:
`python -m hypersd.kohya DIR` writes DIR/kohya_lora_weights.safetensors."""

from __future__ import annotations

import sys
from pathlib import Path

from hypersd.errors import UsageError, exit_code

NAME = "kohya_lora_weights.safetensors"


def convert(folder: Path) -> Path:
    """Write the folder's LoRA once more, in kohya's keys, with alpha = rank; returns the file.

    Raises UsageError where the folder has no LoRA that can be read.
    """
    from diffusers.utils import convert_state_dict_to_kohya
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    from hypersd.student import WEIGHT_NAME

    path = folder / WEIGHT_NAME
    try:
        state = load_file(path)
        converted = convert_state_dict_to_kohya(state)
    except (OSError, SafetensorError, ValueError) as error:
        raise UsageError(f"LoRA {path}: {str(error).splitlines()[0]}") from None
    save_file({key: value.contiguous() for key, value in converted.items()}, folder / NAME)
    return folder / NAME


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
