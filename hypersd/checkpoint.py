"""Checkpoints: everything a training needs to go on, whole or not at all.

A checkpoint is one file, written beside, synced, then renamed; the one before goes only after the
new one stands. Its weights are read with `weights_only=True`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hypersd.errors import UsageError

_NAME = re.compile(r"checkpoint-(\d+)\.pt")


def save(
    folder: Path, step: int, identity: str, modules: dict[str, nn.Module], extra: dict[str, Any]
) -> Path:
    """Write `checkpoint-<step>.pt`: the modules' trained state and buffers, and `extra` (state
    dicts and plain numbers); then remove the older ones."""
    path = folder / f"checkpoint-{step}.pt"
    beside = path.with_suffix(".writing")
    state = {name: _state(module) for name, module in modules.items()}
    with beside.open("wb") as file:
        torch.save({"step": step, "identity": identity, "modules": state, "extra": extra}, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    for other, old in _existing(folder):
        if other < step:
            old.unlink()
    return path


def newest(folder: Path, identity: str) -> dict[str, Any] | None:
    """The newest whole checkpoint, or None; a damaged one is passed over for an older.

    Raises UsageError where it belongs to another recipe.
    """
    for _, path in sorted(_existing(folder), reverse=True):
        try:
            found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            print(f"passing over damaged {path}: {str(error).splitlines()[0]}", flush=True)
            continue
        if found["identity"] != identity:
            raise UsageError(f"{path} is of another recipe; choose another out=, or remove it")
        return found
    return None


def restore(modules: dict[str, nn.Module], found: dict[str, Any]) -> None:
    """Load the modules' state from what `newest` gave."""
    for name, module in modules.items():
        module.load_state_dict(found["modules"][name], strict=False)


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    """A module's trained parameters and all buffers: frozen weights are not written again."""
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    frozen = {name for name, p in module.named_parameters()} - trained
    return {name: value for name, value in module.state_dict().items() if name not in frozen}


def _existing(folder: Path) -> list[tuple[int, Path]]:
    found = ((match, path) for path in folder.glob("*.pt") if (match := _NAME.fullmatch(path.name)))
    return [(int(match[1]), path) for match, path in found]
