"""Recipes: one YAML per trained model, read into a frozen, validated dataclass."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from hypersd.best import BestOptions
from hypersd.errors import UsageError, brief, nearest
from hypersd.validation import Count, NonNegative, Positive, Whole, read

FOLDER = Path(__file__).parent / "recipes"
NOT_IN_IDENTITY = (
    "name", "accumulate", "gradient_checkpointing", "checkpoint_every", "validate_every", "prompts",
    "trackers",
)  # fmt: skip
Precision = Literal["fp32", "bf16"]


class Stage(Protocol):
    """A part of a training: some of its updates."""

    @property
    def steps(self) -> int:
        """How many."""


T = TypeVar("T")
S = TypeVar("S", bound=Stage)


@dataclass(frozen=True)
class Recipe:
    """How one model is trained. Everything that moves a weight is in here.

    steps: optimizer updates.  batch: pictures per update.  warmup: updates until the learning
    rate is reached, linearly.  decay: "constant", "cosine" (to zero at the last update) or
    "cosine_per_stage" (to zero at the last update of each stage).
    clip: largest gradient norm.  average: rate of an exponential average of the weights over
    updates, or None.  best: by which validation figure the best weights are kept, beside the last
    ones, and whether it ends the training.
    precision: "fp32", "bf16" for autocast of the loss, or "auto": bf16 where the hardware has it;
    what was taken is in the card.
    base_precision: "fp32", or "bf16" for the frozen base's weights (what is trained is fp32).
    data, options: what the method reads.  stages: what changes over time.

    How it is run, which moves weights by rounding at most: accumulate: parts that each process's
    share of a batch is cut into.  gradient_checkpointing: recompute activations.
    checkpoint_every, validate_every (None: as often): in updates.  prompts: of the validation
    pictures, the data's own where empty.  trackers: any that accelerate knows.
    """

    name: str
    method: str
    steps: Count
    batch: Count
    lr: Positive
    base: str = "base"
    seed: Whole = 0
    warmup: Whole = 0
    decay: Literal["constant", "cosine", "cosine_per_stage"] = "constant"
    clip: Positive = 1.0
    weight_decay: NonNegative = 0.0
    average: Positive | None = None
    best: BestOptions | None = None
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    checkpoint_every: Count = 200
    data: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    base_precision: Precision = "fp32"
    accumulate: Count = 1
    gradient_checkpointing: bool = False
    validate_every: Count | None = None
    prompts: list[str] = field(default_factory=list)
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])

    @cached_property
    def identity(self) -> str:
        """A hash of all that decides the weights (how it is run left out)."""
        fields = dataclasses.asdict(self)
        for key in NOT_IN_IDENTITY:
            del fields[key]
        if fields["precision"] == "auto":  # bf16 where the hardware has it
            fields["precision"] = "bf16"
        if self.best is None:  # younger, too
            del fields["best"]
        for key in ("precision", "base_precision"):
            if fields[key] == "fp32":  # younger than the first trainings, whose identities stand
                del fields[key]
        text = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def read_options(self, kind: type[T]) -> T:
        """The options as a method's dataclass. Raises UsageError for what does not fit."""
        return read(kind, self.options, "options", where=f"recipe {self.name}")

    def read_stages(self, kind: type[S]) -> list[S]:
        """The stages as a method's dataclasses.

        Raises UsageError for what does not fit, or where their steps are not the recipe's in all.
        """
        where = f"recipe {self.name}"
        stages = [
            read(kind, stage, f"stages[{i}]", where=where) for i, stage in enumerate(self.stages)
        ]
        total = sum(stage.steps for stage in stages)
        if total != self.steps:
            raise UsageError(f"{where}: its stages have {total} steps; valid: steps={self.steps}")
        return stages

    @property
    def images_seen(self) -> int:
        """Pictures drawn from the data over the whole training."""
        return self.steps * self.batch


def names() -> list[str]:
    """The shipped recipes; what several have in common (`_<name>.yaml`) is none."""
    return sorted(path.stem for path in FOLDER.glob("[!_]*.yaml"))


def load(name: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """The recipe of a name or of a YAML file, with fields replaced by `overrides`.

    `extends: NAME` in it takes another recipe's keys (NAME.yaml beside it, or shipped) where it
    has none of its own; mappings are merged key by key, but `data` is replaced as a whole, since
    its keys belong to one kind of source.  An override's key may point into a mapping with dots
    ("options.guidance").
    Raises UsageError for an unknown recipe, key, method or a value of the wrong type.
    """
    path = Path(name) if Path(name).suffix == ".yaml" else _shipped(str(name))
    values = _read(path)
    for key, value in (overrides or {}).items():
        values = _override(path, values, key, value)
    return read(Recipe, {"name": path.stem, **values}, where=f"recipe {path}")


def _shipped(name: str) -> Path:
    path = FOLDER / f"{name}.yaml"
    if not path.is_file() and Path(name).is_file():
        raise UsageError(f"recipe {name}: valid: a file whose name ends in .yaml")
    if not path.is_file():
        raise UsageError(f"no recipe {name!r}; {nearest(name, names())}")
    return path


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's keys over those of the recipe that it extends."""
    from omegaconf import OmegaConf

    from hypersd.plain_yaml import load as plain

    if path in above:
        raise UsageError(f"recipe {path}: extends itself")
    held = plain(path, f"recipe {path}")
    try:
        found = OmegaConf.to_container(OmegaConf.create(held), resolve=True)
    except Exception as error:  # omegaconf raises many kinds for a reference that leads nowhere
        raise UsageError(f"recipe {path}: {brief(error)}") from None
    if not isinstance(found, dict):
        raise UsageError(f"recipe {path}: not a mapping of keys to values")
    values = {str(key): value for key, value in found.items()}
    name = values.pop("extends", None)
    if name is None:
        return values
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise UsageError(f"recipe {path}: extends={name!r}; valid: a recipe's name")
    beside = path.with_name(f"{name}.yaml")
    return _merged(
        _read(beside if beside.is_file() else _shipped(str(name)), (*above, path)), values
    )


def _merged(below: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    merged = {**below, **values}
    for key in merged.keys() - {"data"}:
        if isinstance(below.get(key), dict) and isinstance(values.get(key), dict):
            merged[key] = _merged(below[key], values[key])
    return merged


def _override(path: Path, values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The values with one changed, whose key is a path with dots."""
    first, _, rest = key.partition(".")
    if not rest:
        return _merged(values, {first: value})
    inner = values.get(first) or {}
    if not isinstance(inner, dict):
        raise UsageError(f"recipe {path}: {first!r} is no mapping; valid: {first}=...")
    return {**values, first: _override(path, inner, rest, value)}
