"""Train few-step diffusion models: LCM, TCD, SDXL-Lightning, PCM, DMD2, Hyper-SD, on one loop.

    import hypersd

    weights = hypersd.train("shapes_tcd", out="runs/tcd", steps=200)

docs/python.md has the whole of it. Nothing heavy is imported before one of these is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypersd.api import train
    from hypersd.errors import UsageError

__all__ = ["UsageError", "train"]

_LAZY = {"UsageError": "hypersd.errors", "train": "hypersd.api"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'hypersd' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
