"""Differentiable scorers of pictures, for feedback learning.

A reward is a function of pictures, float [B, 3, H, W] in [-1, 1], and prompts; it gives [B], larger
is better. Its networks are frozen; gradients go to the pictures. A reward that has been trained on
is no evidence: every metric of every contestant says what its method was `trained_on`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hypersd.errors import UsageError, nearest
from hypersd.rewards.options import Reward, RewardOptions

__all__ = ["JUDGES", "KINDS", "Reward", "RewardOptions", "hinge", "load_reward", "read_rewards"]


def _lazy(module: str, name: str) -> Callable[[RewardOptions, torch.device], Reward]:
    """A maker of rewards whose libraries are imported when it is called."""

    def make(options: RewardOptions, device: torch.device) -> Reward:
        reward: Reward = getattr(import_module(f"hypersd.rewards.{module}"), name)(options, device)
        return reward

    return make


KINDS: dict[str, Callable[[RewardOptions, torch.device], Reward]] = {
    "aesthetic": _lazy("world", "aesthetic"),
    "preference": _lazy("world", "preference"),
    "laion": _lazy("published", "laion"),
    "clip": _lazy("published", "clip"),
    "image_reward": _lazy("published", "image_reward"),
}
JUDGES = KINDS | {"faithful": _lazy("world", "faithful")}  # also what has no gradient


def read_rewards(where: str, given: Any, *, judges: bool = False) -> list[RewardOptions]:
    """A recipe's `rewards`, a list of mappings; or with `judges` its validation evaluators.

    Raises UsageError for what is not valid.
    """
    own, kinds = ("drop", JUDGES) if judges else ("target", KINDS)
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        raise UsageError(f"{where}={given!r}; valid: a list of {{kind, folder, {own}, ...}}")
    fields = RewardOptions.__dataclass_fields__
    for i, entry in enumerate(given):
        for key in entry:
            if key not in fields:
                raise UsageError(f"{where}[{i}]: unknown key {key!r}; {nearest(str(key), fields)}")
        for key in ("kind", "folder", own):
            if key not in entry:
                raise UsageError(f"{where}[{i}]: {key!r} is missing")
        if entry["kind"] not in kinds:
            raise UsageError(f"{where}[{i}].kind: {nearest(str(entry['kind']), kinds)}")
        for key in ("target", "weight", "drop"):
            if not isinstance(entry.get(key, 0.0), int | float):
                raise UsageError(f"{where}[{i}].{key}={entry[key]!r}; valid: a number")
    return [RewardOptions(**entry) for entry in given]


def load_reward(options: RewardOptions, device: torch.device) -> Reward:
    """The reward that an entry names. Raises UsageError where its weights cannot be read."""
    return JUDGES[options.kind](options, device)


def hinge(reward: Tensor, target: float) -> Tensor:
    """ReLU(target - reward), [B]: a picture that is good enough is left alone.

    Source: Hyper-SD (arXiv 2404.13686), Eq. 13.
    """
    return F.relu(target - reward.float())
