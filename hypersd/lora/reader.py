"""A LoRA's file, or PEFT's folder -> its layers as data. Every key is used, or the file is
refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypersd import exports, tensor_files
from hypersd.errors import FileError
from hypersd.lora import forms
from hypersd.lora.forms import LayerKeys
from hypersd.lora.strength import Strength, strengths
from hypersd.reference import PICKLES
from hypersd.safetensors_header import header

if TYPE_CHECKING:
    from torch import Tensor

WEIGHT_NAME = "pytorch_lora_weights.safetensors"
NAMES = (WEIGHT_NAME, "adapter_model.safetensors", "adapter_model.bin")
"""What a LoRA is called in a folder: by diffusers, by PEFT."""


@dataclass(frozen=True)
class Layer:
    """One module's part: the weight W becomes W + scale * BA, of a DoRA
    magnitude * (W + scale * BA) / norm(W + scale * BA).

    module: as the file names it, "." as "_" in kohya's form.  down: A [rank, inputs, ...].
    up: B [outputs, rank, ...].  magnitude: one per output, or per input where axis is 1; None for
    a plain LoRA.
    """

    network: str
    module: str
    kohya: bool
    down: Tensor
    up: Tensor
    scale: float
    magnitude: Tensor | None = None
    axis: int = 0

    @property
    def rank(self) -> int:
        """The rank of its difference, at most."""
        return len(self.down)


def find(path: Path) -> Path:
    """The file of a LoRA: the path itself, or the file in a folder of diffusers' or PEFT's.

    Raises FileError where a folder holds none, with the one that was meant for a training's.
    """
    if not path.is_dir():
        return path
    if said := exports.instead_of_training(path):
        raise FileError(said)
    for name in NAMES:
        if (path / name).is_file():
            return path / name
    raise FileError(f"holds no {NAMES[0]}, nor PEFT's {NAMES[1]} or {NAMES[2]}")


def check(path: Path) -> None:
    """Refuse a safetensors file by its header alone, without torch; a pickle is only read when it
    is loaded.

    Raises FileError.
    """
    if path.suffix not in PICKLES:
        keys, metadata, _ = header(path)
        _strengths_of(forms.layers(keys), path, keys, metadata)


def read(path: Path) -> tuple[Layer, ...]:
    """The layers of a LoRA's file, in its order, their tensors in the file's precision.

    Raises FileError for a key that is not used or a value that cannot be right, OSError.
    """
    return _layers(path, *tensor_files.read(path))


def _layers(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> tuple[Layer, ...]:
    keys = tuple(tensors)
    found = forms.layers(keys)
    own = _strengths_of(found, path, keys, metadata)
    return tuple(_layer(keys, tensors, own.get(keys.network)) for keys in found)


def outline(path: Path) -> tuple[Layer, ...]:
    """The layers of a LoRA's file without values: tensors of the "meta" device, scales of 1 where
    an alpha would say another.

    Raises FileError for what can be seen so, OSError.
    """
    return _layers(path, *tensor_files.outline(path))


def _strengths_of(
    found: list[LayerKeys], path: Path, keys: tuple[str, ...], metadata: Mapping[str, Any]
) -> dict[str, Strength]:
    """The configurations, which say of every layer whether it is a DoRA's."""
    own = strengths(path, keys, metadata)
    for layer in found:
        strength = own.get(layer.network)
        dora = not {"magnitude", "dora_scale"}.isdisjoint(layer.parts)
        if strength and strength.use_dora != dora:
            raise FileError(f"{layer.module} has {'a' if dora else 'no'} magnitude, its "
                            f"configuration says use_dora={strength.use_dora}; "
                            "valid: the two that were saved together")  # fmt: skip
    return own


def _layer(keys: LayerKeys, tensors: Mapping[str, Tensor], strength: Strength | None) -> Layer:
    parts = {part: _values(tensors[key], key, whole_numbers=part == "alpha")
             for part, key in keys.parts.items()}  # fmt: skip
    down, up = parts["down"], parts["up"]
    both = f"{keys.parts['down']} {list(down.shape)} and {keys.parts['up']} {list(up.shape)}"
    if down.ndim not in (2, 4) or up.ndim != down.ndim or len(down) != up.shape[1] or not len(down):
        raise FileError(f"{both}; valid: A [rank, inputs, ...] and B [outputs, rank, ...]")
    magnitude, axis = _magnitude(keys, parts)
    scale = _scale(keys, len(down), parts.get("alpha"), strength)
    return Layer(keys.network, keys.module, keys.kohya, down, up, scale, magnitude, axis)


def _values(value: Tensor, key: str, whole_numbers: bool) -> Tensor:
    """A tensor as it is, of fp8 as fp32, in which one can reckon."""
    import torch

    allowed = value.is_floating_point() or (whole_numbers and not value.is_complex())
    if not allowed or value.is_quantized or value.dtype == torch.bool:
        kind = str(value.dtype).removeprefix("torch.")
        raise FileError(f"{key} holds {kind}; valid: floating point numbers")
    if not value.is_meta and not value.float().isfinite().all():
        raise FileError(f"{key} is not finite; valid: numbers only")
    return value.float() if value.itemsize == 1 else value


def _scale(keys: LayerKeys, rank: int, alpha: Tensor | None, strength: Strength | None) -> float:
    """alpha / rank, or as PEFT's configuration says; 1 where nothing says anything, as in every
    loader of such files."""
    if alpha is not None and alpha.numel() != 1:
        raise FileError(f"{keys.parts['alpha']} {list(alpha.shape)}; valid: one number")
    if alpha is not None and alpha.is_meta:
        return 1.0
    own = None if alpha is None else float(alpha) / rank
    if strength is None:
        return 1.0 if own is None else own
    configured = strength.scale(keys.module, rank)
    if own not in (None, configured):
        raise FileError(f"{keys.parts['alpha']} makes a scale of {own:g}, the configuration one of "
                        f"{configured:g}; valid: one of the two")  # fmt: skip
    return configured


def _magnitude(keys: LayerKeys, parts: Mapping[str, Tensor]) -> tuple[Tensor | None, int]:
    """A DoRA's magnitudes [n] and the axis of the weight that they belong to.

    PEFT's are per output. Those beside kohya's keys are per output ([outputs, 1, ...]), or, as in
    LyCORIS without `wd_on_out`, per input ([1, inputs, ...]).
    """
    part = "magnitude" if "magnitude" in parts else "dora_scale"
    if part not in parts:
        return None, 0
    value, outputs, inputs = parts[part], len(parts["up"]), parts["down"].shape[1]
    if value.numel() == outputs and (part == "magnitude" or len(value) == outputs):
        return value.flatten(), 0
    if part == "dora_scale" and value.numel() == inputs and value.shape[:2] == (1, inputs):
        return value.flatten(), 1
    raise FileError(f"{keys.parts[part]} {list(value.shape)}; valid: one number for each of "
                    f"{outputs} outputs")  # fmt: skip
