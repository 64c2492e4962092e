"""Rating heads that are chains of linear layers (`hypersd.rewards.affine`), with bench's errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def of_layers(state: Mapping[str, Tensor], path: Path) -> Callable[[Any], Tensor]:
    """The map of a head's weights, called with [..., D], gives [...] in fp32.

    path: of the file, for the error.  Raises UsageError for a head with activations, or another
    layout: v2's `reluMSE` variant is no affine map.
    """
    import torch

    from hypersd.rewards import affine

    try:
        head = affine.of_layers(state)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    return lambda x: head(torch.as_tensor(x))
