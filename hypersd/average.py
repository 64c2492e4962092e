"""An exponential average of the weights over updates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """average <- r average + (1 - r) weights, r = min(rate, (1 + step) / (10 + step)), so that the
    first weights do not stay in it for long."""

    def __init__(self, parameters: Sequence[nn.Parameter], rate: float) -> None:
        self.parameters: list[Tensor] = [*parameters]
        self.rate = rate
        self.values = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After the update of a step."""
        rate = min(self.rate, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, self.parameters, 1 - rate)

    @torch.no_grad()
    def load(self, values: Sequence[Tensor]) -> None:
        """Load the averages of a checkpoint."""
        torch._foreach_copy_(self.values, list(values))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the parameters are their averages; weights that a guard restores
        meanwhile stay."""
        own = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.values)
        try:
            yield
        finally:
            if all(torch.equal(p, v) for p, v in zip(self.parameters, self.values, strict=True)):
                with torch.no_grad():
                    torch._foreach_copy_(self.parameters, own)
