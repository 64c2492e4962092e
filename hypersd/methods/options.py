"""What a method reads from its recipe, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from hypersd.errors import UsageError, nearest
from hypersd.losses import DISTANCES
from hypersd.recipe import Recipe


@dataclass(frozen=True)
class Options:
    """A consistency recipe's `options`.

    guidance: the teacher's guidance scale (1 = none), one value for all steps.
    points: N of the solver grid.  rank: of the adapters.  distance: "mse" or "huber".
    target: whose prediction is the goal, the "student" itself without gradient or its "ema".
    ema: rate of that average.  offset_noise: standard deviation of a shift per sample and
    channel that is added to the noise.  critic_lr: the critic's learning rate where a method has
    one, the recipe's where 0.  full: student and target are whole UNets instead of adapters.
    """

    guidance: float
    points: int = 40
    rank: int = 8
    distance: str = "huber"
    target: str = "student"
    ema: float = 0.95
    offset_noise: float = 0.0
    critic_lr: float = 0.0
    full: bool = False


CHOICES = {"distance": tuple(DISTANCES), "target": ("student", "ema")}
RANGES = {
    "guidance": (1.0, 100.0),
    "points": (1, 1000),
    "rank": (1, 1024),
    "ema": (0.0, 1.0),
    "offset_noise": (0.0, 1.0),
    "critic_lr": (0.0, 1.0),
}


T = TypeVar("T")


def read_options(recipe: Recipe, extra: dict[str, tuple[str, ...]] | None = None) -> Options:
    """A consistency method's options.

    extra: further keys that a method knows, each with its valid values; it reads them itself.
    """
    return read(recipe, Options, RANGES, {**CHOICES, **(extra or {})})


def read(
    recipe: Recipe,
    kind: type[T],
    ranges: dict[str, tuple[float, float]],
    choices: dict[str, tuple[str, ...]] | None = None,
) -> T:
    """The recipe's options as a dataclass, every key and value checked.

    ranges: of the numbers.  choices: valid values of strings, also of keys outside the dataclass.
    Raises UsageError for an unknown key, a wrong type or value, or where guidance is missing.
    """
    known = {f.name: str(f.type) for f in fields(kind)}  # type: ignore[arg-type]
    choices, where = choices or {}, f"recipe {recipe.name}, options"
    for key, value in recipe.options.items():
        if key not in known and key not in choices:
            raise UsageError(f"{where}: unknown key {key!r}; {nearest(key, {*known, *choices})}")
        if key in choices and value not in choices[key]:
            raise UsageError(f"{where}.{key}={value!r}; {nearest(str(value), choices[key])}")
        if key in ranges:
            _check_number(f"{where}.{key}", value, known[key], ranges[key])
        elif known.get(key) == "bool" and not isinstance(value, bool):
            raise UsageError(f"{where}.{key}={value!r}; valid: true or false")
        elif known.get(key) == "str" and not isinstance(value, str):
            raise UsageError(f"{where}.{key}={value!r}; valid: a text")
    if "guidance" in known and "guidance" not in recipe.options:
        raise UsageError(f"{where}: 'guidance' is missing; valid: a number, 1 = none")
    return kind(**{key: value for key, value in recipe.options.items() if key in known})


def _check_number(where: str, value: Any, kind: str, span: tuple[float, float]) -> None:
    fits = isinstance(value, int) or (kind == "float" and isinstance(value, float))
    if not fits or isinstance(value, bool) or not span[0] <= value <= span[1]:
        raise UsageError(f"{where}={value!r}; valid: {kind} from {span[0]} to {span[1]}")
