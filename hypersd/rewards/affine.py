"""Rating heads that are chains of linear layers: each is exactly one affine map of an embedding.

LAION's aesthetic predictor v2 and ImageReward's head have five `Linear` layers with dropout and no
activation between them, so f(x) = w . x + b; LAION's v1 is a single layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

LINEAR = (0, 2, 4, 6, 7)  # places of the layers where nothing but dropout lies between them


@dataclass(frozen=True)
class Affine:
    """w [D], b: called with [..., D], gives [...] in fp32."""

    w: Tensor
    b: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x.float() @ self.w.to(x.device) + self.b.to(x.device)


def of_layers(state: Mapping[str, Tensor]) -> Affine:
    """The map of a head's weights, `layers.<place>.weight|bias` or a single `weight|bias`.

    Raises ValueError for a head with activations, or another layout: v2's `reluMSE` variant is no
    affine map.
    """
    places = sorted({int(m[1]) for name in state if (m := re.match(r"layers\.(\d+)\.", name))})
    if not places and set(state) == {"weight", "bias"}:
        chain = [(state["weight"], state["bias"])]
    elif tuple(places) == LINEAR:
        chain = [(state[f"layers.{n}.weight"], state[f"layers.{n}.bias"]) for n in places]
    else:
        raise ValueError(f"expected a head of linear layers at {LINEAR}, found {places}")
    w, b = chain[0][0].double(), chain[0][1].double()
    for weight, bias in chain[1:]:
        w, b = weight.double() @ w, weight.double() @ b + bias.double()
    return Affine(w[0].float(), b[0].float())
