"""Checkpoints: everything a training needs to go on, whole or not at all.

A checkpoint is one file, written beside, synced, then renamed; the one before goes only after the
new one stands. Its weights are read with `weights_only=True`.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hypersd.errors import UsageError, brief
from hypersd.whole_files import written_whole

_NAME = re.compile(r"checkpoint-(\d+)\.pt")


def save(
    folder: Path, step: int, identity: str, modules: dict[str, nn.Module], extra: dict[str, Any]
) -> Path:
    """Write `checkpoint-<step>.pt`: the modules' trained state and buffers, and `extra` (state
    dicts and plain numbers); then remove the older ones.

    Raises UsageError where it cannot be written: what was there before stays.
    """
    path = folder / f"checkpoint-{step}.pt"
    state = {name: _state(module) for name, module in modules.items()}
    try:
        with written_whole(path) as beside, beside.open("wb") as file:
            torch.save({"step": step, "identity": identity, "modules": state, "extra": extra}, file)
    except (OSError, RuntimeError) as error:  # torch hides a full disk behind a RuntimeError
        hidden = error.__context__
        words = brief(hidden if isinstance(hidden, OSError) else error)
        raise UsageError(f"{path}: cannot be written ({words}); no step is lost that an older "
                         "checkpoint holds") from None  # fmt: skip
    for other, old in _existing(folder):
        if other < step:
            old.unlink()
    return path


def newest(folder: Path) -> dict[str, Any] | None:
    """The newest whole checkpoint, or None; a damaged one is passed over for an older. Its
    "identity" is that of its recipe."""
    for _, path in sorted(_existing(folder), reverse=True):
        try:
            _verify(path)
            found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            print(f"passing over damaged {path}: {brief(error)}", flush=True)
            continue
        return found
    return None


def _verify(path: Path) -> None:
    """Compare every part of the archive with the CRC-32 that it was written with: torch itself
    reads over a flipped bit. Raises ValueError or zipfile.BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        wrong = archive.testzip()
    if wrong is not None:
        raise ValueError(f"the checksum of {wrong} is wrong")


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
