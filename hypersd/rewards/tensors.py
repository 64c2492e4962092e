"""Weights of published networks, read so that a file can run nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hypersd.errors import UsageError, brief


def tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a .safetensors file, or of a pickle that may hold nothing but data.

    A dict under `state_dict` or `model` is taken out of its wrapping.
    Raises UsageError for a damaged file, or one that would run code.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, SafetensorError, EOFError) as error:
        raise UsageError(f"{path}: not readable as weights ({brief(error, 120)})") from None
    except Exception as error:  # pickle raises what it likes
        raise UsageError(f"{path}: holds more than tensors ({brief(error, 120)})") from None
    for wrapping in ("state_dict", "model"):
        if isinstance(held, dict) and isinstance(held.get(wrapping), dict):
            held = held[wrapping]
    if not isinstance(held, dict) or not all(isinstance(t, Tensor) for t in held.values()):
        raise UsageError(f"{path}: expected tensors by name")
    return held
