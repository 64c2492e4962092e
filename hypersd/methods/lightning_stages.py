"""The stages of SDXL-Lightning's distillation, as a recipe gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypersd.errors import UsageError, nearest
from hypersd.recipe import Recipe
from hypersd.solver import SolverGrid

CRITICS = ("none", "pair", "single")
OUTPUTS = ("epsilon", "sample")
WEIGHTS = ("distance", "adversarial")


@dataclass(frozen=True)
class Stage:
    """`steps` updates that teach `to` moves what `teacher` moves (the recipe's `from`) do.

    distance, adversarial: weights of the squared error and of what the critic says, where there is
    one; the paper's stages are adversarial alone.
    output: what the student's network gives, "epsilon" or "sample" (x0): {from: 1, to: 1} turns a
    one-step student of the one into the other by a squared error (the paper's Eq. 29).
    """

    teacher: int
    to: int
    steps: int
    critic: str = "none"
    noised: bool = False
    output: str = "epsilon"
    distance: float = 0.0
    adversarial: float = 1.0

    @property
    def role(self) -> str:
        """The name of the stage's critic, which also tells stages apart."""
        mark = "" if self.output == "epsilon" else "_x0"
        return f"critic_{self.teacher}to{self.to}_{self.critic}{mark}"


def read_stages(recipe: Recipe, grid: SolverGrid) -> list[Stage]:
    """The recipe's stages, those of `Stage`, `from` for `teacher`, in order.

    Raises UsageError for an unknown or missing key, a bad value, numbers of steps that do not
    divide, a teacher that no stage has made, two stages alike, or steps that do not add up.
    """
    stages: list[Stage] = []
    for i, given in enumerate(recipe.stages):
        where = f"recipe {recipe.name}, stages[{i}]"
        stage = _stage(where, given, grid.points)
        if stage.role in [other.role for other in stages]:
            raise UsageError(f"{where}: the same from, to and critic as an earlier stage")
        if stages and stages[-1].output == "sample" and stage.output != "sample":
            raise UsageError(f"{where}.output={stage.output!r}; valid: sample, as the one before")
        if i and stage.teacher not in [other.to for other in stages]:
            made = ", ".join(str(n) for n in sorted({other.to for other in stages}))
            raise UsageError(f"{where}.from={stage.teacher}: no such student yet; valid: {made}")
        stages.append(stage)
    total = sum(stage.steps for stage in stages)
    if total != recipe.steps:
        raise UsageError(
            f"recipe {recipe.name}: its stages have {total} steps; valid: steps={recipe.steps}"
        )
    return stages


def _stage(where: str, given: dict[str, Any], points: int) -> Stage:
    counts = ("from", "to", "steps")
    rest = ("critic", "noised", "output", *WEIGHTS)
    valid = (*counts, *rest)
    for key in given:
        if key not in valid:
            raise UsageError(f"{where}: unknown key {key!r}; {nearest(str(key), valid)}")
    for key in counts:
        if not isinstance(given.get(key), int) or given[key] < 1:
            raise UsageError(f"{where}.{key}={given.get(key)!r}; valid: a whole number from 1")
    if given.get("critic", "none") not in CRITICS:
        raise UsageError(f"{where}.critic={given['critic']!r}; valid: {', '.join(CRITICS)}")
    if not isinstance(given.get("noised", False), bool):
        raise UsageError(f"{where}.noised={given['noised']!r}; valid: true or false")
    if given.get("output", "epsilon") not in OUTPUTS:
        raise UsageError(f"{where}.output={given['output']!r}; valid: {', '.join(OUTPUTS)}")
    for key in WEIGHTS:
        if not isinstance(given.get(key, 0.0), int | float) or given.get(key, 0.0) < 0:
            raise UsageError(f"{where}.{key}={given[key]!r}; valid: a number from 0")
    if given["from"] % given["to"] or points % given["from"]:
        raise UsageError(
            f"{where}: {given['from']} to {given['to']} on {points} points; valid: each divides "
            "the one before"
        )
    own = {key: given[key] for key in rest if key in given}
    return Stage(given["from"], given["to"], given["steps"], **own)
