"""A claim about methods, as a suite makes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stated:
    """A claim as the suite makes it: a `relation` b on a metric, at `steps` or at all."""

    a: str
    relation: str
    b: str
    metric: str
    steps: int | None = None
