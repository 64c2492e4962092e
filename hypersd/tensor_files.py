"""Reads the tensors of a weights file without running any code that it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypersd.errors import FileError
from hypersd.file_kinds import PICKLE, SAFETENSORS, fault, mistaken
from hypersd.reference import PICKLES
from hypersd.safetensors_header import DAMAGED, header

if TYPE_CHECKING:
    from torch import Tensor


def read(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The tensors of a .safetensors file in its order, or of a pickle (.bin, .pt, .ckpt), maybe
    under `state_dict`; and the file's metadata.

    Raises FileError for a file that is damaged or holds anything else, OSError.
    """
    return _pickled(path) if path.suffix in PICKLES else _stored(path)


def outline(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The same as tensors on the "meta" device: values are not read."""
    if path.suffix in PICKLES:
        return _pickled(path, "meta")
    held, metadata = _stored(path)  # mapped into memory, no page of which is touched
    return {key: value.to("meta") for key, value in held.items()}, metadata


def check(path: Path) -> None:
    """Refuse a damaged safetensors file by its header, a pickle by its first bytes (it is read only
    when it is loaded).

    Raises FileError for a file that is cut off or of another kind, OSError.
    """
    if path.suffix not in PICKLES:
        header(path)
    elif said := mistaken(path, PICKLE):
        raise FileError(said)


def _stored(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    keys, metadata, _ = header(path)
    try:
        held = load_file(path)
    except (SafetensorError, ValueError, KeyError, AttributeError):
        raise FileError(fault(path, SAFETENSORS, DAMAGED)) from None
    return {key: held[key] for key in keys}, metadata


def _pickled(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The tensors of a pickle, which is not allowed to hold code."""
    import torch

    try:
        held = torch.load(path, map_location=device, weights_only=True)
    except OSError:
        raise
    except Exception:  # pickle raises what it likes
        raise FileError(fault(path, PICKLE, "damaged, or holds more than tensors")) from None
    held = held.get("state_dict", held) if isinstance(held, dict) else {}
    if not held or not all(isinstance(v, torch.Tensor) for v in held.values()):
        raise FileError("holds no tensors by name; valid: a state_dict, or a .safetensors file")
    return {str(key): value for key, value in held.items()}, {}
