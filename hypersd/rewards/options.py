"""What a reward is, and what a recipe says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

Reward = Callable[[Tensor, Sequence[str]], Tensor]
"""(pictures [B, 3, H, W] in [-1, 1], B prompts) -> [B], larger is better, with gradient."""


@dataclass(frozen=True)
class RewardOptions:
    """One entry of a recipe's `rewards` or `validation`.

    kind: a key of KINDS.  folder: of the trained head or preference model, here or on the hub, or
    the name of the world's (`hypersd.shapes.weights`); a file for "laion" and "image_reward".
    clip: the same of the CLIP that an aesthetic head stands on.
    vocabulary: BERT's vocab.txt, of "image_reward".

    Of a reward: target, alpha_d of the hinge ReLU(alpha_d - r_d), in the reward's unit; weight of
    that hinge.  Of a validation evaluator: drop, by how much its mean may fall below its value
    before the training, in its unit.
    """

    kind: str
    folder: str
    target: float = 0.0
    weight: float = 1.0
    drop: float = 0.0
    clip: str = ""
    vocabulary: str = ""
