"""The precision in which a training computes its loss."""

from __future__ import annotations

import torch


def resolved(name: str, device: torch.device) -> str:
    """A recipe's `precision` on a device: of "auto" bf16 where its hardware has it, else fp32.

    A CPU without bf16 instructions computes a convolution 50 times slower in bf16 than in fp32.
    """
    if name != "auto":
        return name
    return "bf16" if has_bf16(device) else "fp32"


def has_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16, as torch says."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
