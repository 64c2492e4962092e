"""A LoRA beside the weights of a network that is kept in 8 bits: W stays as it is stored, and each
module adds scale * B A x to its output, in the precision that it calculates in.

Merged into such weights much of a LoRA would be lost: e4m3 keeps 3 bits after the point, a step of
6 to 12 %, and most of what a LoRA changes is smaller. diffusers does the same where
`enable_layerwise_casting` follows `load_lora_weights`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypersd.errors import FileError
from hypersd.lora.reader import Layer


def refuse_dora(layers: Iterable[Layer]) -> None:
    """Raise FileError for a DoRA, whose magnitudes need the whole weight."""
    for layer in layers:
        if layer.magnitude is not None:
            raise FileError(f"{layer.module} is a DoRA, which cannot be beside weights in fp8; "
                            "valid: a plain LoRA, or no storage=")  # fmt: skip


def add(module: Any, layer: Layer, scale: float, dtype: torch.dtype) -> Any:
    """Let a linear layer or a convolution add a LoRA's part to its output, until the handle that
    comes back is removed.

    dtype: that the module calculates in.
    """
    device, strength = module.weight.device, scale * layer.scale
    down, up = (factor.to(device, dtype) for factor in (layer.down, layer.up))
    down, up = _shaped(module, down, up)

    def hook(_module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if isinstance(module, nn.Conv2d):
            inner = functional.conv2d(inputs[0], down, None, module.stride, module.padding)
            return output + strength * functional.conv2d(inner, up)
        return output + strength * functional.linear(functional.linear(inputs[0], down), up)

    return module.register_forward_hook(hook)


def _shaped(module: Any, down: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """A and B as the module's own weights are: a 1x1 convolution and a linear layer are the
    same."""
    if isinstance(module, nn.Conv2d):
        return down.reshape(*down.shape, *(1,) * (4 - down.ndim)), up.reshape(*up.shape[:2], 1, 1)
    return down.flatten(1), up.flatten(1)
