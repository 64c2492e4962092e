"""The stages of SDXL-Lightning's distillation, as a recipe gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from hypersd.errors import UsageError
from hypersd.recipe import Recipe
from hypersd.solver import SolverGrid
from hypersd.validation import Count, NonNegative


@dataclass(frozen=True)
class LightningStage:
    """`steps` updates that teach `to` moves what `teacher` moves (the recipe's `from`) do.

    distance, adversarial: weights of the squared error and of the generator loss; the paper's later
    stages have the second alone. output: what the student's network gives, "sample" (x0), or
    "epsilon", which stands for what the base gives (SDXL's is eps): {from: 1, to: 1} turns a
    one-step student from one to the other by a squared error (the paper's Eq. 29).
    """

    teacher: Annotated[int, Field(ge=1, alias="from")]
    to: Count
    steps: Count
    critic: Literal["none", "pair", "single"] = "none"
    noised: bool = False
    output: Literal["epsilon", "sample"] = "epsilon"
    distance: NonNegative = 0.0
    adversarial: NonNegative = 1.0

    @property
    def role(self) -> str:
        """The name of the stage's critic, which also tells stages apart."""
        mark = "" if self.output == "epsilon" else "_x0"
        return f"critic_{self.teacher}to{self.to}_{self.critic}{mark}"


def read_stages(recipe: Recipe, grid: SolverGrid) -> list[LightningStage]:
    """The recipe's stages, those of `LightningStage`, `from` for `teacher`, in order.

    Raises UsageError for an unknown or missing key, a bad value, numbers of steps that do not
    divide, a teacher that no stage has made, two stages alike, or steps that do not add up.
    """
    stages = recipe.read_stages(LightningStage)
    for i, stage in enumerate(stages):
        before, where = stages[:i], f"recipe {recipe.name}: stages[{i}]"
        if stage.teacher % stage.to or grid.points % stage.teacher:
            raise UsageError(f"{where}: {stage.teacher} to {stage.to} on {grid.points} points; "
                             "valid: each divides the one before")  # fmt: skip
        if stage.role in [other.role for other in before]:
            raise UsageError(f"{where}: the same from, to and critic as an earlier stage")
        if before and before[-1].output == "sample" and stage.output != "sample":
            raise UsageError(f"{where}.output={stage.output}: must be sample, as the one before")
        if before and stage.teacher not in [other.to for other in before]:
            made = ", ".join(str(n) for n in sorted({other.to for other in before}))
            raise UsageError(f"{where}.from={stage.teacher}: no such student yet; valid: {made}")
    return stages
