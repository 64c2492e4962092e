"""How images are drawn from weights, by method and by recipe.

A method's name does not say all of what a recipe trains: a one-step model may be made at another
timestep than the grid's last, a network may end by predicting x0, and feedback is learned on top of
another method.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError

if TYPE_CHECKING:
    from hypersd.recipe import Recipe

GUIDANCE = 3.0  # of every teacher of the world and all that is distilled from it
LAST = 999  # the timestep of pure noise, where one step is made unless a recipe says otherwise


@dataclass(frozen=True)
class Sampling:
    """How images are drawn from weights.

    scheduler: None is the base's own.  guidance: 1 is none, and costs one network evaluation per
    step instead of two.  original_steps: points of the grid that LCM's and TCD's schedulers cut
    their steps from.  timesteps: replaces the scheduler's own choice.  None leaves what the base's
    scheduler configuration says.
    """

    scheduler: str | None = None
    spacing: str | None = None
    timesteps: tuple[int, ...] | None = None
    eta: float = 0.0
    guidance: float = 1.0
    prediction_type: str | None = None
    original_steps: int | None = None

    @property
    def evaluations_per_step(self) -> int:
        """Network evaluations per image and step."""
        return 2 if self.guidance > 1 else 1


KEYS = tuple(field.name for field in fields(Sampling))
_TCD = Sampling("tcd", eta=0.3, original_steps=40)
_LCM = Sampling("lcm", original_steps=40)  # x0, then fresh noise: exact for one step, as DMD's
_JUMPS = Sampling("ddim", spacing="trailing")  # deterministic, at the points of every grid here
LIKE = {
    "teacher": Sampling(guidance=GUIDANCE),
    "lcm": _LCM,
    "tcd": _TCD,
    "tscd": _TCD,
    "lightning": _JUMPS,
    "hyper_sd": _JUMPS,
    "hyper_sd_unified": _TCD,
    "pcm": _JUMPS,
    "dmd": _LCM,
    "dmd2": _LCM,
}


def of_recipe(name: str, methods: Mapping[str, Sampling]) -> Sampling:
    """How the model of a recipe is drawn.

    name: of a recipe, or its file.  methods: sampling by method; a method that is not among them
    is drawn as the base is, without guidance.  Raises UsageError for no such recipe.
    """
    from hypersd import recipe

    return drawing(recipe.load(name), methods)


def drawing(recipe: Recipe, methods: Mapping[str, Sampling]) -> Sampling:
    """As `sampling`, of a recipe that is loaded."""
    options = recipe.options
    if recipe.method == "feedback":
        onto = str(options.get("onto") or "")
        return _onto(Path(onto), methods) if onto else methods.get("hyper_sd", Sampling())
    found = methods.get(recipe.method, Sampling())
    if recipe.method in ("dmd", "dmd2") and int(options.get("start", LAST)) != LAST:
        return replace(found, timesteps=(int(options["start"]),))
    if recipe.stages and recipe.stages[-1].get("output") == "sample":
        return replace(found, prediction_type="sample")
    return found


def _onto(folder: Path, methods: Mapping[str, Sampling]) -> Sampling:
    """Of the training that a feedback adapter was learned on: `.../<recipe>/<part>`, or what its
    card says where the folder is called otherwise."""
    from hypersd import recipe

    if folder.parent.name in recipe.names():
        return drawing(recipe.load(folder.parent.name), methods)
    try:
        method = json.loads((folder / "training.json").read_text(encoding="utf-8"))["method"]
    except (OSError, ValueError, KeyError, TypeError):
        valid = "a recipe's name as its parent's, or a training.json in it"
        raise UsageError(f"options.onto={folder}: how to draw it is not known; {valid}") from None
    return methods.get(str(method), Sampling())
