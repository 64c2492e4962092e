"""A recipe's rewards, and the evaluators that guard a training against them.

A reward that is maximised for long is maximised by its faults. So evaluators that no training uses
and no table reports rate the validation pictures; where one falls by more than a recipe's `drop`
below its value before the training, the training ends with the weights of the last good validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from hypersd.errors import UsageError
from hypersd.losses import reward_hinge
from hypersd.rewards import load_reward
from hypersd.rewards.options import ObjectiveOptions, RewardOptions, ValidationOptions

R = TypeVar("R", bound=RewardOptions)
Pictures = Callable[[], Tensor]
"""Draws validation pictures with the present weights, [n, 3, H, W] in [-1, 1]."""


class Panel:
    """The `rewards` and `validation` of a recipe's options, loaded.  name: the recipe's."""

    def __init__(
        self, name: str, rewards: Sequence[ObjectiveOptions],
        validation: Sequence[ValidationOptions], device: torch.device,
    ) -> None:  # fmt: skip
        self.name, self.options = name, rewards
        self.rewards = {
            name: (load_reward(one, device), one) for name, one in _named(rewards).items()
        }
        self.judges = {
            name: (load_reward(one, device), one.drop) for name, one in _named(validation).items()
        }

    @property
    def aims(self) -> str:
        """The rewards and their targets, for a model card: "aesthetic to 8"; "" where none."""
        return ", ".join(f"{one.kind} to {one.target:g}" for one in self.options)

    def rated(self, images: Tensor, captions: Sequence[str]) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum of the rewards' mean hinges, and the mean rewards by name.

        images: [B, 3, H, W] in [-1, 1].  The networks run in fp32, as where they judge.
        Raises UsageError for a reward that is not finite.
        """
        total, scalars = torch.zeros((), device=images.device), {}
        for name, (reward, options) in self.rewards.items():
            with torch.autocast(images.device.type, enabled=False):
                found = reward(images, captions)
            mean = float(found.detach().mean())
            if not math.isfinite(mean):
                raise UsageError(f"recipe {self.name}: the reward {name} gives {mean}; "
                                 "valid: a finite number for every picture")  # fmt: skip
            total = total + options.weight * reward_hinge(found, options.target).mean()
            scalars[f"reward_{name}"] = mean
        return total, scalars


def _named(entries: Sequence[R]) -> dict[str, R]:
    """Entries by kind; a second one of a kind is `<kind>_2`."""
    named: dict[str, R] = {}
    for one in entries:
        count = 1 + sum(other.kind == one.kind for other in named.values())
        named[one.kind if count == 1 else f"{one.kind}_{count}"] = one
    return named


class RewardGuard(nn.Module):
    """Keeps the last weights that passed every validation evaluator of a panel.

    It is made before the training, since a fall is measured from the first weights; its buffers, on
    the CPU, are part of a checkpoint. pictures: draws with the present weights.
    """

    kept: Tensor
    good: Tensor

    def __init__(
        self, panel: Panel, trained: Sequence[nn.Parameter], pictures: Pictures,
        prompts: Sequence[str],
    ) -> None:  # fmt: skip
        super().__init__()
        self.panel, self.pictures, self.prompts = panel, pictures, list(prompts)
        self.trained = list(trained)
        self.register_buffer("kept", self._now())
        self.register_buffer("good", torch.tensor(0))
        self.before = self.judged()
        self.reason: str | None = None

    @torch.no_grad()
    def judged(self) -> dict[str, float]:
        """The mean of every evaluator on the validation pictures."""
        images = self.pictures()
        return {
            kind: float(judge(images, self.prompts).float().mean())
            for kind, (judge, _) in self.panel.judges.items()
        }

    def watch(self, step: int) -> dict[str, float]:
        """The evaluators' means after so many steps. Keeps the weights, or restores the kept ones
        and sets `reason`."""
        found = self.judged()
        if self.reason is not None:
            return found
        for kind, (_, drop) in self.panel.judges.items():
            fall = self.before[kind] - found[kind]
            if not fall <= drop:  # nor where it is not a number
                self.reason = (
                    f"{kind} fell by {fall:.3g} on validation prompts, more than {drop:g}: "
                    f"back to step {int(self.good)}"
                )
                vector_to_parameters(self.kept.clone().to(self.trained[0].device), self.trained)
                return found
        self.kept.copy_(self._now())
        self.good.fill_(step)
        return found

    def facts(self) -> dict[str, str | int]:
        """For the model card: the step of these weights, and why the training ended early."""
        return {
            "weights_of_step": int(self.good),
            **({"ended": self.reason} if self.reason else {}),
        }

    @torch.no_grad()
    def _now(self) -> Tensor:
        return parameters_to_vector(self.trained).cpu()
