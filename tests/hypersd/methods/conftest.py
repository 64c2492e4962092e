"""Tasks of every method on the tiny base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hypersd import loop
from hypersd.methods.preview import Preview
from hypersd.recipe import Recipe


@pytest.fixture
def on_tiny_base(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Recipe]:
    """(recipe, **changes) -> the recipe on the tiny base; its data are encoded for one test."""
    monkeypatch.setenv("HYPERSD_CACHE", str(tmp_path))
    return lambda recipe, **changes: replace(recipe, base=str(tiny_base), **changes)


@pytest.fixture
def built(on_tiny_base: Callable[..., Recipe]) -> Callable[..., Any]:
    """(recipe, **changes) -> the task of the same."""
    return lambda *given, **changes: loop.build(
        on_tiny_base(*given, **changes), torch.device("cpu")
    )


@pytest.fixture
def no_previews(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings draw none, which would take longer than their few steps."""
    monkeypatch.setattr(Preview, "write", lambda self, path: {})
