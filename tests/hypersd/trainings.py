"""What tests of several methods ask of a training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hypersd import loop
from hypersd.recipe import Recipe


def rng(step: int = 0) -> torch.Generator:
    """The randomness of a step."""
    return torch.Generator().manual_seed(step)


def values(parameters: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Parameters as they are now."""
    return [p.detach().clone() for p in parameters]


def differ(now: Iterable[torch.Tensor], before: list[torch.Tensor]) -> bool:
    """Whether any parameter has moved."""
    return any(not torch.equal(a, b) for a, b in zip(now, before, strict=True))


def assert_resumes_exactly(
    recipe: Recipe, kind: type[loop.Task], at: int, name: str, tmp_path: Path
) -> None:
    """A training stopped in the student's turn of step `at` and started again ends with the same
    weights, file `name`, as one that was never stopped."""
    whole = load_file(loop.train(recipe, tmp_path / "whole") / name)
    real = kind.turn_loss

    def stop(self: Any, role: str, step: int, *rest: Any) -> Any:
        if role == loop.STUDENT and step == at:
            raise KeyboardInterrupt
        return real(self, role, step, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "turn_loss", stop)
        with pytest.raises(KeyboardInterrupt):
            loop.train(recipe, tmp_path / "stopped")
    again = load_file(loop.train(recipe, tmp_path / "stopped") / name)
    assert all(torch.equal(again[key], value) for key, value in whole.items())
