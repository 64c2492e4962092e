"""The memory that a training needs, and the batch that would fit where it is not there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from hypersd.errors import UsageError
from hypersd.recipe import Recipe

GIB = 2**30


def lacking(error: RuntimeError) -> bool:
    """Whether an error means "out of memory": torch has an exception for it on accelerators
    only."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be had on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def training_bytes(parameters: list[nn.Parameter]) -> int:
    """Bytes of gradients and AdamW's two moments, which come on top of the weights."""
    return sum(3 * p.numel() * p.element_size() for p in parameters)


def check(recipe: Recipe, parameters: list[nn.Parameter], device: torch.device) -> None:
    """Raise UsageError where gradients and optimizer alone do not fit on the device."""
    need, free = training_bytes(parameters), free_bytes(device)
    if need <= free:
        return
    rank = int(recipe.options.get("rank", 0) * free / need)
    valid = f"options.rank={rank}" if rank and not recipe.options.get("full") else "fewer weights"
    raise UsageError(
        f"recipe {recipe.name}: gradients and optimizer need {need / GIB:.1f} GiB on {device}, "
        f"{free / GIB:.1f} are free; {valid} would fit"
    )


def what_fits(recipe: Recipe, rows: int, attempt: Callable[[int], None]) -> str:
    """One line for a batch that did not fit: the largest part of it that fits, found by trying.

    rows: of the part that did not fit. attempt: runs a part of so many rows.
    """
    said = f"recipe {recipe.name}: not enough memory for {rows} pictures at a time"
    for part in (n for n in range(rows // 2, 0, -1) if rows % n == 0):
        try:
            attempt(part)
        except RuntimeError as error:
            if not lacking(error):
                raise
            continue
        return f"{said}; {part} fit: accumulate={recipe.accumulate * rows // part}"
    hints = [] if recipe.gradient_checkpointing else ["gradient_checkpointing=true"]
    hints += [] if recipe.base_precision == "bf16" else ["base_precision=bf16"]
    return f"{said}, nor for one; valid: {' or '.join([*hints, 'a smaller options.rank'])}"
