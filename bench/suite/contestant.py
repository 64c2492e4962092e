"""What a contestant's settings mean: validated, and completed by the method they follow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import UsageError, nearest
from bench.suite import fields, per_step

SOURCES = ("lora", "unet", "pipeline", "images", "recipe")
ANCHORS = ("real", "vae_round_trip", "shuffled_captions")
SCHEDULERS = ("ddim", "dpm", "euler", "euler_ancestral", "lcm", "tcd")
OWN_STEPS = ("ddim", "euler_ancestral")  # schedulers that take no timesteps from outside
SPACINGS = ("leading", "linspace", "trailing")
PREDICTIONS = ("epsilon", "sample", "v_prediction")
DEFAULT_BASE = "shapes/base"
GUIDANCE = 3.0  # of every teacher of the world and all that is distilled from it
PRECISIONS = ("fp32", "fp16", "bf16")
KEYS = (*SOURCES, *per_step.SAMPLING, "base", "like", "method", "steps", "lora_scale", "size")


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


_TCD = Sampling("tcd", eta=0.3, original_steps=40)
_LCM = Sampling("lcm", original_steps=40)  # x0, then fresh noise: exact for one step, as DMD's
JUMPS = Sampling("ddim", spacing="trailing")  # deterministic, at the points of every grid here
LIKE = {
    "teacher": Sampling(guidance=GUIDANCE),
    "lcm": _LCM,
    "tcd": _TCD,
    "tscd": _TCD,
    "lightning": JUMPS,
    "hyper_sd": JUMPS,
    "hyper_sd_unified": _TCD,
    "pcm": JUMPS,
    "dmd": _LCM,
    "dmd2": _LCM,
}


@dataclass(frozen=True)
class Settings:
    """One contestant of a suite.

    source: where its images come from, one of SOURCES, ANCHORS or "base" (the base itself).
    weights: the value given for that source, a path or a name; "" for a base; of an anchor the
    folder of real pictures, "" for the world's.
    steps: the numbers of steps it is drawn at; empty for images that no sampler made.
    size: height and width in pixels where it is drawn at another size than the suite's.
    compiled: its UNet runs through torch.compile, whose rounding is another.
    """

    key: str
    method: str
    source: str
    weights: str
    base: str
    steps: tuple[int, ...]
    sampling: Sampling
    lora_scale: float = 1.0
    precision: str = "fp32"
    size: int | None = None
    compiled: bool = False


@dataclass(frozen=True)
class Ground:
    """What a suite says for all its contestants.

    base: the model they stand on, or None for the world's; then `like` and names mean the world's
    methods (LIKE), otherwise `like` names another contestant of the suite.
    """

    base: str | None = None
    precision: str = "fp32"

    @property
    def methods(self) -> dict[str, Sampling]:
        """Sampling by method, for the contestants that are called so or `like` it."""
        return LIKE if self.base is None else {}


@dataclass(frozen=True)
class Row:
    """One line of the result: a contestant at one number of steps."""

    settings: Settings
    steps: int | None

    @property
    def name(self) -> str:
        """`<key>-<steps>step`, or the key alone for images that no sampler made."""
        key = self.settings.key
        return key if self.steps is None else f"{key}-{self.steps}step"

    @property
    def nfe(self) -> int | None:
        """Network evaluations per image."""
        if self.steps is None:
            return None
        return self.steps * self.settings.sampling.evaluations_per_step

    def size(self, usual: int) -> int:
        """Height and width in pixels. usual: the suite's."""
        return self.settings.size or usual


def read_all(
    contestants: Mapping[str, Any], steps: tuple[int, ...], ground: Ground
) -> tuple[Settings, ...]:
    """Every contestant that a suite describes; one with `at` gives a Settings per step count.

    steps: the suite's, for contestants that name none.  Raises UsageError.
    """
    found: list[Settings] = []
    for key in contestants:
        kinds = per_step.plain(key, contestants, steps, SOURCES)
        if ground.base is not None:
            kinds = [o for k in kinds for o in per_step.like(key, k, contestants, steps, SOURCES)]
        found += [read(key, values, steps, ground) for values in kinds]
    return tuple(found)


def read(key: str, values: Any, steps: tuple[int, ...], ground: Ground | None = None) -> Settings:
    """The contestant that a suite describes under `contestants.<key>`, all steps alike.

    steps: the suite's, for a contestant that names none.  Raises UsageError.
    """
    where, ground = f"contestants.{key}", ground or Ground()
    base = ground.base or DEFAULT_BASE
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", key):
        raise UsageError(f"contestants.{key[:40]}: a contestant's name holds letters, digits, '_', "
                         "'.' and '-', at most 100")  # fmt: skip
    given = fields.mapping(where, {} if values is None else values, KEYS)
    if key in ANCHORS:
        if given.keys() - {"base", "images"}:
            raise UsageError(
                f"{where}: {key!r} is an anchor and takes no setting but 'base' and 'images'"
            )
        folder = fields.text(f"{where}.images", given["images"]) if given.get("images") else ""
        own_base = fields.text(f"{where}.base", given.get("base", base))
        return Settings(key, key, key, folder, own_base, (), Sampling(), precision=ground.precision)
    source, weights = _source(where, given)
    if source == "images":
        for name in given.keys() - {"images", "method"}:
            raise UsageError(f"{where}: a folder of images takes no setting {name!r}")
        method = str(given.get("method", key))
        return Settings(key, method, source, weights, base, (), Sampling())
    start = _like(where, key, source, weights, given, ground.methods)
    own = (
        fields.integers(f"{where}.steps", given["steps"], 1, per_step.MAX_STEPS)
        if "steps" in given
        else ()
    )
    settings = Settings(
        key=key,
        method=fields.text(f"{where}.method", given.get("method", key)),
        source=source,
        weights=weights,
        base=weights
        if source == "pipeline"
        else fields.text(f"{where}.base", given.get("base", base)),
        steps=own or steps,
        sampling=_sampling(where, start, given),
        lora_scale=fields.number(f"{where}.lora_scale", given.get("lora_scale", 1.0), 0.0, 10.0),
        precision=ground.precision,
        size=fields.integer(f"{where}.size", given["size"], 8, 4096) if given.get("size") else None,
    )
    _fits(where, settings)
    return settings


def _source(where: str, given: dict[str, Any]) -> tuple[str, str]:
    found = [name for name in SOURCES if given.get(name) is not None]
    if len(found) > 1:
        raise UsageError(f"{where}: has both {found[0]!r} and {found[1]!r}; give one of them")
    if not found:
        return "base", ""
    return found[0], fields.text(f"{where}.{found[0]}", given[found[0]])


def _like(
    where: str,
    key: str,
    source: str,
    weights: str,
    given: dict[str, Any],
    methods: dict[str, Sampling],
) -> Sampling:
    """The sampling to start from: of the method given, of its own name, or of its recipe's."""
    if given.get("like") is not None:
        return methods[fields.choice(f"{where}.like", given["like"], methods)]
    if key in methods or source != "recipe":
        return methods.get(key, Sampling())
    from bench.suite.drawing import sampling

    return sampling(weights, methods)


def _sampling(where: str, start: Sampling, given: dict[str, Any]) -> Sampling:
    """`start` with what is given. Without either: the base's scheduler and no guidance."""
    changes: dict[str, Any] = {}
    words = {"scheduler": SCHEDULERS, "spacing": SPACINGS, "prediction_type": PREDICTIONS}
    for name, valid in words.items():
        if given.get(name) is not None:
            changes[name] = fields.choice(f"{where}.{name}", given[name], valid)
    if given.get("timesteps") is not None:
        changes["timesteps"] = fields.integers(f"{where}.timesteps", given["timesteps"], 0, 999)
    if "eta" in given:
        changes["eta"] = fields.number(f"{where}.eta", given["eta"], 0.0, 1.0)
    if "guidance" in given:
        changes["guidance"] = fields.number(f"{where}.guidance", given["guidance"], 1.0, 100.0)
    if given.get("original_steps") is not None:
        original = fields.integer(f"{where}.original_steps", given["original_steps"], 1, 1000)
        changes["original_steps"] = original
    return replace(start, **changes)


def _fits(where: str, settings: Settings) -> None:
    """Refuse steps that the scheduler cannot make."""
    sampling, most = settings.sampling, max(settings.steps)
    if sampling.timesteps is not None:
        if sampling.scheduler in (None, *OWN_STEPS):
            valid = nearest("", (s for s in SCHEDULERS if s not in OWN_STEPS))
            raise UsageError(f"{where}.timesteps: needs a scheduler that takes them; {valid}")
        if list(sampling.timesteps) != sorted(sampling.timesteps, reverse=True):
            raise UsageError(f"{where}.timesteps={list(sampling.timesteps)}: must fall")
        if settings.steps != (len(sampling.timesteps),):
            count = len(sampling.timesteps)
            raise UsageError(f"{where}.timesteps: there are {count}, so set {where}.steps={count}")
    elif sampling.scheduler in ("lcm", "tcd") and most > (sampling.original_steps or 50):
        original = sampling.original_steps or 50
        raise UsageError(f"{where}: {most} steps cannot be cut from original_steps={original}")


def rows(settings: tuple[Settings, ...]) -> list[Row]:
    """The lines of the result, in the suite's order."""
    lines: list[Row] = []
    for one in settings:
        lines += [Row(one, steps) for steps in one.steps or (None,)]
    return lines
