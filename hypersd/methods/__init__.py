"""Training methods by the name that a recipe gives."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from hypersd.shapes.tasks import TASKS

if TYPE_CHECKING:
    import torch

    from hypersd.recipe import Recipe
    from hypersd.task import Task

    Build = Callable[[Recipe, torch.device], Task]


def _lazy(module: str) -> Build:
    """A module's `build`, imported when it is called: a list of names costs no import of torch."""

    def build(recipe: Recipe, device: torch.device) -> Task:
        task: Task = import_module(module).build(recipe, device)
        return task

    return build


METHODS: dict[str, Build] = {
    "lcm": _lazy("hypersd.methods.lcm"),
    "tcd": _lazy("hypersd.methods.tcd"),
    "tscd": _lazy("hypersd.methods.tscd"),
    "lightning": _lazy("hypersd.methods.lightning"),
    "dmd": _lazy("hypersd.methods.dmd"),
    "dmd2": _lazy("hypersd.methods.dmd2"),
    "pcm": _lazy("hypersd.methods.pcm"),
    "feedback": _lazy("hypersd.methods.feedback"),
    **TASKS,
}
