"""Metrics by name, on the world's own networks or on published ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import UsageError, nearest
from bench.metrics import published
from bench.metrics.aesthetic import Aesthetic
from bench.metrics.base import Extractor, Metric
from bench.metrics.clip import ClipScore
from bench.metrics.diversity import WorldDiversity
from bench.metrics.extractors import extractor
from bench.metrics.faithful import Faithful
from bench.metrics.frechet import (
    FrechetDistance,
    InfiniteFrechetDistance,
    Reference,
    TeacherFrechetDistance,
)
from bench.metrics.hps import Hps, WorldImageReward, WorldPick
from bench.metrics.perceptual import WorldTeacherDistance
from bench.statistics.result import Result

METRICS: dict[str, Any] = {
    "fid": FrechetDistance,
    "fid_inf": InfiniteFrechetDistance,
    "fid_teacher": TeacherFrechetDistance,
    "clip": ClipScore,
    "aesthetic": Aesthetic,
    "hps": Hps,
    "image_reward": WorldImageReward,
    "pick": WorldPick,
    "faithful": Faithful,
    "diversity": WorldDiversity,
    "perceptual_teacher": WorldTeacherDistance,
}
PAIRED = ("lpips_teacher", "perceptual_teacher")  # hold each image against the teacher's own

__all__ = [
    "METRICS",
    "NAMES",
    "PAIRED",
    "Extractor",
    "Metric",
    "Reference",
    "Result",
    "extractor",
    "metric",
]


NAMES = tuple(dict.fromkeys([*METRICS, *published.MAKERS]))


def metric(
    name: str,
    references: Mapping[str, Reference | Path | str] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Metric:
    """The metric of a name, ready to evaluate.

    references: the world's Frechet references by what they are of ("real", "teacher"), files or
    already read; for PAIRED the identity of the teacher, under "against".  settings: None for the
    world's networks; for published ones what a suite says under `metrics.<name>`
    (`bench.metrics.published`).
    Raises UsageError for an unknown name, missing weights or a reference of another network.
    """
    if settings is not None:
        return published.make(name, settings)
    if name not in METRICS:
        only = " on the world's networks" if name in NAMES else ""
        raise UsageError(f"no metric {name!r}{only}; {nearest(name, METRICS)}")
    made: Metric = METRICS[name].load(references or {})
    return made
