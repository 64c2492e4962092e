"""Rewards, and their options in a recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from hypersd.validation import Number, one_of

Reward = Callable[[Tensor, Sequence[str]], Tensor]
"""(pictures [B, 3, H, W] in [-1, 1], B prompts) -> [B], larger is better, with gradient."""

REWARDS = {
    "aesthetic": "hypersd.shapes.rewards:aesthetic",
    "preference": "hypersd.shapes.rewards:preference",
    "laion": "hypersd.rewards.published:laion",
    "clip": "hypersd.rewards.published:clip",
    "image_reward": "hypersd.rewards.published:image_reward",
}
"""By kind, the function that makes one: (options, device) -> Reward."""
EVALUATORS = REWARDS | {"faithful": "hypersd.shapes.rewards:faithful"}  # also without a gradient


@dataclass(frozen=True)
class RewardOptions:
    """Which networks rate pictures.

    kind: a key of EVALUATORS.  folder: of the trained head or preference model, here or on the hub,
    or the name of the world's (`hypersd.shapes.weights`); a file for "laion" and "image_reward".
    clip: the same of the CLIP that an aesthetic head stands on.
    vocabulary: BERT's vocab.txt, of "image_reward".
    """

    kind: Annotated[str, one_of(EVALUATORS)]
    folder: str
    clip: str = ""
    vocabulary: str = ""


@dataclass(frozen=True, kw_only=True)
class ObjectiveOptions(RewardOptions):
    """One entry of a recipe's `rewards`.

    target: alpha_d of the hinge ReLU(alpha_d - r_d), in the reward's unit.  weight: of that hinge.
    """

    kind: Annotated[str, one_of(REWARDS)]
    target: Number
    weight: Number = 1.0


@dataclass(frozen=True, kw_only=True)
class ValidationOptions(RewardOptions):
    """One entry of a recipe's `validation`.

    drop: by how much the evaluator's mean may fall below its value before the training, in its
    unit.
    """

    drop: Number
