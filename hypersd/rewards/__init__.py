"""Differentiable scorers of pictures, for feedback learning.

A reward is a function of pictures, float [B, 3, H, W] in [-1, 1], and prompts; it gives [B], larger
is better. Its networks are frozen; gradients go to the pictures. A metric that a method was trained
on is no evidence for it: `trained_on` marks it in every report.
"""

from __future__ import annotations

from pkgutil import resolve_name

import torch

from hypersd.rewards.options import EVALUATORS, Reward, RewardOptions


def load_reward(options: RewardOptions, device: torch.device) -> Reward:
    """The reward of its options. Raises UsageError where its weights cannot be read."""
    reward: Reward = resolve_name(EVALUATORS[options.kind])(options, device)
    return reward
