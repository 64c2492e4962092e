"""Counts passes through networks: the cost of a training, whatever the machine."""

from __future__ import annotations

from collections import Counter

from torch import Tensor


class Passes:
    """How many pictures have gone through networks, forward and backward.

    counts: by `<network>_forwards` and `<network>_backwards`; "unet" is a whole one, "encoder" its
    first half, as critics use it. A guided prediction is two passes of each picture.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, network: str, output: Tensor) -> None:
        """One forward pass that gave `output`, [B, ...]; its backward pass counts when it comes."""
        pictures = len(output)
        self.counts[f"{network}_forwards"] += pictures

        def backward(gradient: Tensor) -> None:
            self.counts[f"{network}_backwards"] += pictures

        if output.requires_grad:
            output.register_hook(backward)  # type: ignore[no-untyped-call]
