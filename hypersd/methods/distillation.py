"""What methods that distil a few-step student share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

Weight = Annotated[float, Field(ge=0, le=100)]
"""Of a part of a loss."""
LearningRate = Annotated[float, Field(ge=0, le=1)]
"""Of a further role; the recipe's where 0."""


@dataclass(frozen=True, kw_only=True)
class DistillationOptions:
    """A recipe's `options` that every method has.

    guidance: the teacher's guidance scale (1 = none), one value for all steps.  points: N of the
    solver grid.  rank: of the adapters.
    """

    guidance: Annotated[float, Field(ge=1, le=100)]
    points: Annotated[int, Field(ge=1, le=1000)] = 40
    rank: Annotated[int, Field(ge=1, le=1024)] = 8
