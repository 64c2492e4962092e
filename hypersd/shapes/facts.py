"""Facts that a picture and its caption share, as yes-or-no values that do not depend on word order.

"a star left of a ring" and "a ring right of a star" are one picture. A head that reads these facts
off an embedding makes the embedding hold them; one head for pictures and captions gives both the
same code.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hypersd.shapes.scenes import COLOURS, MAX_THINGS, RELATIONS, SHAPES, SIZES, Spec

ROLES = (*RELATIONS, "around", "behind")  # relations of a thing to the other one
OTHER_ROLE = {
    "left of": "right of", "right of": "left of", "above": "below", "below": "above",
    "inside": "around", "in front of": "behind",
}  # fmt: skip
_COLOURS, _SIZES = tuple(COLOURS), tuple(SIZES)
_TABLES = (  # facts about one thing, by pairs of its values
    ("shape", SHAPES, "colour", _COLOURS),
    ("shape", SHAPES, "size", _SIZES),
    ("colour", _COLOURS, "size", _SIZES),
    ("shape", SHAPES, "role", ROLES),
    ("colour", _COLOURS, "role", ROLES),
    ("size", _SIZES, "role", ROLES),
)
COUNT = sum(len(a) * len(b) for _, a, _, b in _TABLES) + MAX_THINGS


def facts(spec: Spec) -> NDArray[np.float32]:
    """Which pairs of values some thing has, and how many things there are: [COUNT], 0 or 1."""
    relation = spec.relation
    roles = [relation, OTHER_ROLE[relation]] if relation else [None] * len(spec.things)
    found = []
    for first, firsts, second, seconds in _TABLES:
        table = np.zeros((len(firsts), len(seconds)), dtype=np.float32)
        for thing, role in zip(spec.things, roles, strict=True):
            values = {"shape": thing.shape, "colour": thing.colour, "size": thing.size}
            other = role if second == "role" else values[second]
            if other is not None:
                table[firsts.index(values[first]), seconds.index(other)] = 1.0
        found.append(table.ravel())
    number = np.zeros(MAX_THINGS, dtype=np.float32)
    number[len(spec.things) - 1] = 1.0
    return np.concatenate([*found, number])


class FactsHead(nn.Module):
    """Embeddings [B, D], not normalised -> logits [B, COUNT]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, COUNT)
        nn.init.constant_(self.layer.bias, -3.0)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x)
        return logits


def facts_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy, summed over facts, the mean over a batch. Both [B, COUNT]."""
    terms = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    return terms.sum(dim=1).mean()


def facts_of(specs: list[Spec]) -> Tensor:
    """[N, COUNT] of `facts`."""
    return torch.from_numpy(np.stack([facts(spec) for spec in specs]))
