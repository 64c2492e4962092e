"""`lpips_teacher`, `perceptual_teacher`: how unlike the teacher's picture of the same prompt, drawn
from the same noise, a picture looks.

A distilled student that follows its teacher's trajectories draws nearly the same picture; one that
matches distributions alone need not. Low is near; it says nothing of which picture is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.metrics.base import Features, HeldOut
from bench.metrics.networks.base import Tower
from bench.metrics.networks.shapes_perceptual import ShapesPerceptual
from bench.statistics.result import Result, mean_result


@dataclass(frozen=True)
class TeacherDistance(HeldOut):
    """network: the extractor's identity, which names the teacher."""

    network: str
    extractor: str

    name: ClassVar[str] = "lpips_teacher"
    higher_is_better: ClassVar[bool] = False

    @classmethod
    def of(cls, tower: Tower) -> TeacherDistance:
        """In a tower's distance."""
        return cls(tower.identity, tower.name)

    @property
    def identity(self) -> str:
        return f"{self.name}/1;mean distance from the teacher's picture;{self.network}"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: distances [N, 1]."""
        del prompts
        return mean_result(features[:, 0].astype("float64"), clusters)


class WorldTeacherDistance(TeacherDistance):
    """Through the world's own feature network."""

    name: ClassVar[str] = "perceptual_teacher"

    @classmethod
    def load(cls, references: Mapping[str, Any]) -> TeacherDistance:
        """references: the identity of the teacher, under `against`."""
        return cls.of(ShapesPerceptual(against=references.get("against", "")))
