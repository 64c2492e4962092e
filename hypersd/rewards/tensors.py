"""Weights of published networks, read so that a file can run nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hypersd.errors import UsageError, os_words
from hypersd.file_kinds import SAFETENSORS, fault, of_weights


def tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a .safetensors file, or of a pickle that may hold nothing but data.

    A dict under `state_dict` or `model` is taken out of its wrapping.
    Raises UsageError for a damaged file, or one that would run code.
    """
    kind = of_weights(path)
    try:
        if kind is SAFETENSORS:
            return dict(load_file(path))
        held = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"{path}: {os_words(error)}") from None
    except (RuntimeError, ValueError, SafetensorError, EOFError):
        raise UsageError(f"{path}: {fault(path, kind, 'is damaged or cut off')}") from None
    except Exception:  # pickle raises what it likes
        raise UsageError(f"{path}: {fault(path, kind, 'holds more than tensors')}") from None
    for wrapping in ("state_dict", "model"):
        if isinstance(held, dict) and isinstance(held.get(wrapping), dict):
            held = held[wrapping]
    if not isinstance(held, dict) or not all(isinstance(t, Tensor) for t in held.values()):
        raise UsageError(f"{path}: expected tensors by name")
    return held
