"""Losses: two tensors in, one value per sample out.

Pure functions: no randomness, no model, no reduction over the batch; computed in fp32.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]
"""(prediction [B, ...], goal [B, ...]) -> [B]."""


def squared_error(prediction: Tensor, goal: Tensor) -> Tensor:
    """mean((prediction - goal)^2) over each sample's elements.

    prediction, goal: [B, ...], one shape.  Returns [B], fp32.
    Raises ValueError where shapes differ.
    """
    return _difference(prediction, goal).square().flatten(1).mean(1)


def pseudo_huber(prediction: Tensor, goal: Tensor, c: float = 0.001) -> Tensor:
    """mean(sqrt(d^2 + c^2) - c) over each sample's elements, d = prediction - goal.

    Element by element, as LCM's trainers do: |d| for |d| >> c, d^2 / 2c below. (iCT's loss of
    the same name is on the norm of a sample's difference.)
    prediction, goal: [B, ...], one shape.  Returns [B], fp32.
    Raises ValueError where shapes differ.
    """
    square = _difference(prediction, goal).square()
    return ((square + c * c).sqrt() - c).flatten(1).mean(1)


DISTANCES: dict[str, Distance] = {"mse": squared_error, "huber": pseudo_huber}


def _difference(prediction: Tensor, goal: Tensor) -> Tensor:
    if prediction.shape != goal.shape:
        raise ValueError(f"shapes differ: {tuple(prediction.shape)} and {tuple(goal.shape)}")
    return prediction.float() - goal.float()
