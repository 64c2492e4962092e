"""Benchmark few-step diffusion models: suites of contestants, metrics, comparisons, reports.

    import bench

    run = bench.evaluate("shapes_1step", limit=100)
    run.table()

docs/python.md has the whole of it. Nothing heavy is imported before one of these is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import Checked, PlannedRun, Run, evaluate, leaderboard, load, plan
    from bench.errors import UsageError
    from bench.metrics.adapter import ImageMetric, metric
    from bench.report.frame import Table

__all__ = [
    "Checked",
    "ImageMetric",
    "PlannedRun",
    "Run",
    "Table",
    "UsageError",
    "evaluate",
    "leaderboard",
    "load",
    "metric",
    "plan",
]

_LAZY = {
    **dict.fromkeys(
        ("Checked", "PlannedRun", "Run", "evaluate", "leaderboard", "load", "plan"), "bench.api"
    ),
    **dict.fromkeys(("ImageMetric", "metric"), "bench.metrics.adapter"),
    "Table": "bench.report.frame",
    "UsageError": "bench.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
