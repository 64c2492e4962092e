"""The interface of everything that the loop trains: methods, and networks of the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

STUDENT = "student"


class Turn(NamedTuple):
    """The result of a role's turn at a step.

    loss: the scalar that the role minimises. scalars: to log. outputs: what later turns of the step
    use, without gradient; for a critic, the samples that it judges.
    """

    loss: Tensor
    scalars: dict[str, float]
    outputs: Any = None


class Task(Protocol):
    """One training; a subclass has `groups`, `loss` (or `turn_loss`) and `export`.

    modules: all that a checkpoint must hold (trained parameters and buffers).
    divides: whether `loss` can do a part of a batch, the rows in `share`: what several processes
    and gradient accumulation need. It draws for the whole batch in any case, so that a step is
    one function of (weights, seed, step) however it is cut up, and gives the mean over its rows.
    """

    modules: dict[str, nn.Module]
    divides: ClassVar[bool] = False
    share: slice = slice(None)

    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups, each of one role (its "role", else the student); a group's "lr"
        scales with the schedule. Every role has an optimizer of its own."""

    def turns(self, step: int) -> Sequence[str]:
        """The roles that are updated at a step, one after the other: a role may come twice."""
        return (STUDENT,)

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The student's scalar to minimise at a step, and scalars to log. Draws from `rng` only."""
        turn = self.turn_loss(STUDENT, step, rng)
        return turn.loss, turn.scalars

    def turn_loss(self, role: str, step: int, rng: torch.Generator, outputs: Any = None) -> Turn:
        """A role's turn; the student's minimises `loss`.

        outputs: those that an earlier turn of this step gave, of the same rows, the last ones.
        """
        return Turn(*self.loss(step, rng))

    def after_step(self, step: int) -> None:
        """Called after each step, for instance to average the weights."""
        return

    def preview(self, path: Path) -> Mapping[str, float] | None:
        """Write a picture of what the model does on validation data, where that makes sense;
        returns validation figures, where there are any."""
        return None

    def halted(self) -> str | None:
        """Why the training must end before its time, asked after each `preview`; its weights are
        then those to export."""
        return None

    def snapshot(self, step: int) -> str | None:
        """The name of a folder to export to after a step, besides the final weights, or None."""
        return None

    def passes(self) -> Mapping[str, int]:
        """Pictures that have gone through networks in this process so far, by name: only ever more.
        The loop takes what comes in by its steps."""
        return {}

    def export(self, out: Path) -> dict[str, Any]:
        """Write the weights into a folder; returns figures for the model card."""
