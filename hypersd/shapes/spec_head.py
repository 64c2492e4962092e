"""A head that reads a caption's spec off the text encoder's pooled state while the teacher trains.

A diffusion loss teaches a text encoder late which of two things is the left one: after 384,000
pictures the first teacher put them right in 25 of 43 cases. The head asks the pooled state, which
the UNet sees as one of the tokens, for every value of the spec and for where each thing may be
expected. It is thrown away after training.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hypersd.shapes.scenes import (
    CANVAS,
    COLOURS,
    MAX_THINGS,
    RELATIONS,
    SHAPES,
    SIZES,
    sample_scene,
)

CLASSES = {"shape": 1 + len(SHAPES), "colour": 1 + len(COLOURS), "size": 1 + len(SIZES)}  # 0: none
RELATION = 1 + len(RELATIONS)  # 0: none
_PER_THING = sum(CLASSES.values())


def spec_labels(split: str, start: int, count: int) -> NDArray[np.float32]:
    """Each scene's spec as numbers, [count, 1 + 5 MAX_THINGS]: relation; shape, colour, size of
    each thing (0: none); then x, y of each in [-1, 1] (nan: none)."""
    colours, sizes = list(COLOURS), list(SIZES)
    table = np.zeros((count, 1 + 5 * MAX_THINGS), dtype=np.float32)
    table[:, 1 + 3 * MAX_THINGS :] = np.nan
    for n in range(count):
        scene = sample_scene(split, start + n)
        spec = scene.spec
        table[n, 0] = 0 if spec.relation is None else 1 + RELATIONS.index(spec.relation)
        for k, (thing, place) in enumerate(zip(spec.things, scene.places, strict=True)):
            values = SHAPES.index(thing.shape), colours.index(thing.colour), sizes.index(thing.size)
            table[n, 1 + 3 * k : 4 + 3 * k] = 1 + np.array(values)
            at = 1 + 3 * MAX_THINGS + 2 * k
            table[n, at : at + 2] = 2 * place.x / CANVAS - 1, 2 * place.y / CANVAS - 1
    return table


class SpecHead(nn.Module):
    """Pooled text states [B, width] -> relation, values and expected places, [B, ...]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, RELATION + MAX_THINGS * (_PER_THING + 2))

    def forward(self, pooled: Tensor) -> Tensor:
        found: Tensor = self.layer(pooled)
        return found


def spec_loss(found: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of every value, squared error of the places.

    found: [B, ...] of the head.  truth: [B, ...] of `spec_labels`.
    """
    found = found.float()
    relation, values, places = torch.split(
        found, [RELATION, MAX_THINGS * _PER_THING, 2 * MAX_THINGS], dim=1
    )
    loss = F.cross_entropy(relation, truth[:, 0].long())
    right = [relation.argmax(1) == truth[:, 0]]
    parts = torch.split(values, list(CLASSES.values()) * MAX_THINGS, dim=1)
    for part, aim in zip(parts, truth[:, 1 : 1 + len(parts)].long().unbind(1), strict=True):
        loss = loss + F.cross_entropy(part, aim) / MAX_THINGS
        right.append(part.argmax(1) == aim)
    aims = truth[:, 1 + len(parts) :]
    there = ~aims.isnan()
    error = (places - aims.nan_to_num())[there].square().mean()
    scalars = {
        "read": float(torch.stack(right).all(0).float().mean()),
        "place": float(error.detach()),
    }
    return loss + error, scalars
