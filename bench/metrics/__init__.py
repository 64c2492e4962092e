"""Metrics by name. `fid`, `fid_inf`, `fid_teacher`: lower is better; the others: higher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.errors import UsageError, nearest
from bench.metrics.aesthetic import Aesthetic
from bench.metrics.base import Extractor, Metric, Result
from bench.metrics.clip import ClipScore
from bench.metrics.extractors import extractor
from bench.metrics.faithful import Faithful
from bench.metrics.frechet import (
    FrechetDistance,
    InfiniteFrechetDistance,
    Reference,
    TeacherFrechetDistance,
)
from bench.metrics.hps import Hps

METRICS: dict[str, Any] = {
    "fid": FrechetDistance,
    "fid_inf": InfiniteFrechetDistance,
    "fid_teacher": TeacherFrechetDistance,
    "clip": ClipScore,
    "aesthetic": Aesthetic,
    "hps": Hps,
    "faithful": Faithful,
}

__all__ = ["METRICS", "Extractor", "Metric", "Reference", "Result", "extractor", "metric"]


def metric(name: str, references: dict[str, Reference | Path] | None = None) -> Metric:
    """The metric of a name, ready to evaluate.

    references: Frechet references by what they are of ("real", "teacher"), files or already read.
    Raises UsageError for an unknown name, missing weights or a reference of another network.
    """
    if name not in METRICS:
        raise UsageError(f"no metric {name!r}; {nearest(name, METRICS)}")
    made: Metric = METRICS[name].load(references or {})
    return made
