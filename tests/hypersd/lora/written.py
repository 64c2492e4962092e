"""Random LoRAs, written in every form that people's files have, and what they make of a weight.

Nothing here is the reader's: the writer knows the forms, the closed form is numpy's in float64.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

FORMS = ("diffusers", "before_peft", "peft", "kohya", "original", "comfyui")
KEYS = {
    "diffusers": ("unet.", "lora_A.weight", "lora_B.weight"),
    "before_peft": ("unet.", "lora.down.weight", "lora.up.weight"),
    "peft": ("base_model.model.", "lora_A.weight", "lora_B.weight"),
    "comfyui": ("diffusion_model.", "lora_down.weight", "lora_up.weight"),
}
KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}


@dataclass(frozen=True)
class Part:
    """One module's part of a LoRA. axis: of the weight, that a DoRA's magnitudes belong to."""

    network: str
    module: str
    down: Tensor
    up: Tensor
    alpha: float | None = None
    magnitude: Tensor | None = None
    axis: int = 0

    @property
    def rank(self) -> int:
        return len(self.down)


def part(
    network: str, module: Any, name: str, rng: torch.Generator, *, rank: int, alpha: float | None,
    axis: int | None, dtype: torch.dtype,
) -> Part:  # fmt: skip
    """A random part of a linear layer or a convolution; axis: of its magnitudes, None for none."""
    outputs, inputs, *kernel = module.weight.shape
    down = torch.randn((rank, inputs, *kernel), generator=rng).to(dtype)
    up = torch.randn((outputs, rank, *(1 for _ in kernel)), generator=rng).to(dtype)
    magnitude = None
    if axis is not None:
        magnitude = (torch.rand(module.weight.shape[axis], generator=rng) + 0.5).to(dtype)
    return Part(network, name, down, up, alpha, magnitude, axis or 0)


def expected(weight: Tensor, part: Part, scale: float, lora_scale: float) -> NDArray[np.float64]:
    """The weight with the part in it, in float64."""
    a, b = (factor.double().numpy() for factor in (part.down, part.up))
    w = weight.double().numpy()
    product = np.einsum("or,ri->oi", b.reshape(len(b), -1), a.reshape(len(a), -1))
    total = w + lora_scale * scale * product.reshape(w.shape)
    if part.magnitude is None:
        return total
    axes = tuple(axis for axis in range(w.ndim) if axis != part.axis)
    shape = [-1 if axis == part.axis else 1 for axis in range(w.ndim)]
    norm = np.sqrt((total**2).sum(axis=axes, keepdims=True))
    return part.magnitude.double().numpy().reshape(shape) * total / norm


def write(
    folder: Path, form: str, parts: list[Part], *, pickled: bool, rslora: bool, config: bool,
    originals: dict[str, str],
) -> tuple[Path, list[float]]:  # fmt: skip
    """The file (PEFT's: its folder) and the scale of each part, as its form has it.

    config: of the forms that may have no alpha, those that say it in a configuration.
    originals: the UNet's modules -> the original UNet's names.
    """
    if form in ("kohya", "original"):
        state = _kohya(parts, originals if form == "original" else {})
        scales = [1.0 if p.alpha is None else p.alpha / p.rank for p in parts]
        return _save(folder / "lora", state, {}, pickled), scales
    settings, scales = _settings(parts, rslora)
    state = {key: value for p in parts for key, value in _dotted(p, *KEYS[form]).items()}
    if form == "peft":
        (folder / "adapter_config.json").write_text(json.dumps(settings))
        path = _save(folder / "adapter_model", state, {}, pickled)
        return (path if pickled else folder), scales
    if not config or pickled or form != "diffusers":
        return _save(folder / "lora", state, {}, pickled), [1.0] * len(parts)
    metadata = {f"unet.{key}": value for key, value in settings.items()}
    held = {"lora_adapter_metadata": json.dumps(metadata)}
    return _save(folder / "lora", state, held, pickled), scales


def _dotted(part: Part, prefix: str, down: str, up: str) -> dict[str, Tensor]:
    module = prefix + part.module
    state = {f"{module}.{down}": part.down, f"{module}.{up}": part.up}
    if part.magnitude is not None:
        shape = (1, -1, 1, 1) if part.down.ndim == 4 else (-1,)
        state[f"{module}.lora_magnitude_vector"] = part.magnitude.view(shape)
    return state


def _kohya(parts: list[Part], originals: dict[str, str]) -> dict[str, Tensor]:
    state = {}
    for p in parts:
        name = originals.get(p.module, p.module) if p.network == "unet" else p.module
        module = KOHYA[p.network] + name.replace(".", "_")
        state |= {f"{module}.lora_down.weight": p.down, f"{module}.lora_up.weight": p.up}
        if p.alpha is not None:
            state[f"{module}.alpha"] = torch.tensor(p.alpha)
        if p.magnitude is not None:
            shape = [1] * p.down.ndim
            shape[p.axis] = -1
            state[f"{module}.dora_scale"] = p.magnitude.view(shape)
    return state


def _settings(parts: list[Part], rslora: bool) -> tuple[dict[str, Any], list[float]]:
    """PEFT's configuration, whose patterns name every part but the first, and the scales."""
    alphas = [p.rank if p.alpha is None else p.alpha for p in parts]
    settings = {
        "peft_type": "LORA", "r": parts[0].rank, "lora_alpha": alphas[0], "use_rslora": rslora,
        "use_dora": parts[0].magnitude is not None, "fan_in_fan_out": False,
        "rank_pattern": {p.module: p.rank for p in parts[1:]},
        "alpha_pattern": {p.module: a for p, a in zip(parts[1:], alphas[1:], strict=True)},
    }  # fmt: skip
    power = 0.5 if rslora else 1.0
    return settings, [a / p.rank**power for p, a in zip(parts, alphas, strict=True)]


def _save(stem: Path, state: dict[str, Tensor], metadata: dict[str, str], pickled: bool) -> Path:
    state = {key: value.contiguous() for key, value in state.items()}
    if pickled:
        torch.save(state, stem.with_suffix(".bin"))
        return stem.with_suffix(".bin")
    save_file(state, stem.with_suffix(".safetensors"), metadata=metadata or None)
    return stem.with_suffix(".safetensors")
