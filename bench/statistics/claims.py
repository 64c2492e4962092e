"""A claim about methods, as a suite makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from hypersd.validation import Count, Text


@dataclass(frozen=True)
class Stated:
    """A claim as the suite makes it: a `relation` b on a metric, at `steps` or at all.

    A suite writes it {a: ..., is: RELATION, than: ..., metric: ..., steps: ...}.
    """

    a: Text
    relation: Annotated[Literal["better", "not_worse", "equivalent"], Field(alias="is")]
    b: Annotated[Text, Field(alias="than")]
    metric: Text
    steps: Count | None = None
