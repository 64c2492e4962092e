"""How the world's own models are trained, by the `method` of their recipes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from hypersd.loop import Task
    from hypersd.recipe import Recipe

_PLACES = {
    "shapes_vae": ("hypersd.shapes.vae", "VaeTask"),
    "shapes_text": ("hypersd.shapes.reader", "ReaderTask"),
    "shapes_teacher": ("hypersd.shapes.teacher", "TeacherTask"),
    "shapes_clip": ("hypersd.shapes.clip", "ClipTask"),
    "shapes_clip_robust": ("hypersd.shapes.clip_robust", "RobustClipTask"),
    "shapes_hps": ("hypersd.shapes.preference", "PreferenceTask"),
    "shapes_aesthetic": ("hypersd.shapes.aesthetic", "AestheticTask"),
    "shapes_features": ("hypersd.shapes.features", "FeaturesTask"),
    "shapes_segmenter": ("hypersd.shapes.segmenter", "SegmenterTask"),
    "shapes_oracle": ("hypersd.shapes.oracle", "OracleTask"),
}


class _Lazy:
    """A task's class, imported when it is built."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self, recipe: Recipe, device: torch.device) -> Task:
        task: Task = getattr(import_module(self.module), self.name)(recipe, device)
        return task


TASKS: dict[str, Any] = {method: _Lazy(*place) for method, place in _PLACES.items()}
