"""Whether torch.compile works here: it wants a compiler (CPU) or triton (GPU), and its Python."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contestants.pipelines import device_of
from bench.errors import UsageError, brief


def check(chosen: str) -> None:
    """Compile a line on a device, as `device=` names it. Raises UsageError where that fails."""
    device = device_of(chosen)
    try:
        torch.compile(_line)(torch.ones(8, device=device))
    except Exception as error:  # each part of the compiler raises its own kinds
        raise UsageError(
            f"compile=true: torch.compile does not work on {device} here ({brief(error)})"
        ) from None


def _line(x: Tensor) -> Tensor:
    return (2 * x + 1).relu()
