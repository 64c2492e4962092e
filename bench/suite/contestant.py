"""A suite's description of one contestant, checked -> its settings, and the rows of the result."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from bench.errors import UsageError, nearest
from bench.suite import own_call, sampling
from bench.suite.own_call import NOTHING_GIVEN, OwnCall
from bench.suite.sampling import LIKE, Sampling
from hypersd import recipe, validation
from hypersd.validation import Distinct, Line, OneOrMore, Text

SOURCES = ("lora", "unet", "pipeline", "images", "recipe")
ANCHORS = ("real", "vae_round_trip", "shuffled_captions")
OF_BASE = "base"  # the scheduler that the base's own configuration names
Scheduler = Literal[
    "base", "ddim", "dpm", "euler", "euler_ancestral", "flow_euler", "flow_heun", "flow_lcm", "lcm",
    "scm", "tcd",
]  # fmt: skip
FLOWS = ("flow_euler", "flow_heun", "flow_lcm")  # schedulers of rectified flows
OWN_STEPS = (OF_BASE, "ddim", "euler_ancestral")  # schedulers that take no timesteps from outside
DEFAULT_BASE = "shapes/base"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
MAX_STEPS = 50
StepCount = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Pixels = Annotated[int, Field(ge=8, le=4096)]
Precision = Literal["fp32", "fp16", "bf16"]
Storage = Literal["fp8"]
Values = dict[str, Any]


@dataclass(frozen=True)
class StackedLora:
    """A further LoRA, with its strength, on top of a contestant's own weights."""

    lora: Text
    scale: Annotated[float, Field(ge=-10, le=10)] = 1.0


@dataclass(frozen=True)
class ContestantSettings:
    """One contestant of a suite.

    source: where its images come from, one of SOURCES, ANCHORS or "base" (the base itself).
    weights: the value given for that source, a path or a name; "" for a base; of an anchor the
    folder of real pictures, "" for the world's.
    steps: the numbers of steps it is drawn at; empty for images that no sampler made.
    size: height and width in pixels where it is drawn at another size than the suite's.
    compiled: its UNet runs through torch.compile, whose rounding is another.
    vae: a folder or `hf://owner/name` of a VAE that decodes in place of the base's, or "".
    vae_precision: of the VAE alone; None: fp32 where half precision overflows, else `precision`.
    stack: further LoRAs on top of its weights, such as one of a style.
    storage: "fp8" keeps the base's network in 8 bits and calculates in `precision`; "" does not.
    own: what a base that draws by its own call is given (`bench.suite.own_call`).
    read_at: where its settings were read, in words.  unverified: which of them were not read there,
    and how they were chosen.  Both are shown and change no picture.
    assumed: nothing says how its weights are drawn; they are not until something does.
    drawn_as: the method, or the other contestant, whose sampling its `like` or its name took.
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
    assumed: bool = False
    drawn_as: str = ""
    vae: str = ""
    vae_precision: str | None = None
    stack: tuple[StackedLora, ...] = ()
    storage: str = ""
    own: OwnCall = NOTHING_GIVEN
    read_at: str = ""
    unverified: str = ""

    @property
    def numbers(self) -> str:
        """ "bf16", or "fp8 in bf16": what its networks are stored and calculated in."""
        return f"{self.storage} in {self.precision}" if self.storage else self.precision


@dataclass(frozen=True)
class SuiteDefaults:
    """Settings of a suite for all its contestants.

    base: their model, or None for the world's; then `like` and names mean the world's methods
    (LIKE), otherwise `like` names another contestant of the suite.
    """

    base: str | None = None
    precision: str = "fp32"
    vae: str | None = None
    vae_precision: str | None = None

    @property
    def methods(self) -> dict[str, Sampling]:
        """Sampling by method, for the contestants that are called so or `like` it."""
        return LIKE if self.base is None else {}


WORLD = SuiteDefaults()


@dataclass(frozen=True)
class Row:
    """One line of the result: a contestant at one number of steps."""

    settings: ContestantSettings
    steps: int | None

    @property
    def name(self) -> str:
        """`<key>-<steps>step`, or the key alone for images that no sampler made."""
        key = self.settings.key
        return key if self.steps is None else f"{key}-{self.steps}step"

    @property
    def nfe(self) -> int | None:
        """Network evaluations per image of a scheduler that makes one a step."""
        if self.steps is None:
            return None
        return self.steps * self.settings.sampling.evaluations_per_step

    def size(self, usual: int) -> int:
        """Height and width in pixels. usual: the suite's."""
        return self.settings.size or usual


def rows(contestants: Iterable[ContestantSettings]) -> list[Row]:
    """The lines of the result, in the suite's order."""
    return [Row(one, steps) for one in contestants for steps in one.steps or (None,)]


@dataclass(frozen=True)
class GivenContestant:
    """The keys that a suite may give of a contestant at some numbers of steps."""

    lora: Text | None = None
    unet: Text | None = None
    pipeline: Text | None = None
    images: Text | None = None
    recipe: Text | None = None
    scheduler: Scheduler | None = None
    spacing: Literal["leading", "linspace", "trailing"] | None = None
    timesteps: OneOrMore[Annotated[int, Field(ge=0, le=999)]] | None = None
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    prediction_type: Literal["epsilon", "sample", "v_prediction"] | None = None
    original_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    base: Text | None = None
    like: Text | None = None
    method: Text | None = None
    steps: OneOrMore[StepCount] | None = None
    lora_scale: Annotated[float, Field(ge=0, le=10)] = 1.0
    size: Pixels | None = None
    precision: Precision | None = None
    vae: Text | None = None
    vae_precision: Precision | None = None
    stack: Distinct[StackedLora] | None = None
    storage: Storage | None = None
    call: dict[str, Any] | None = None
    scheduler_config: dict[str, Any] | None = None
    read_at: Line | None = None
    unverified: Line | None = None

    @property
    def of_sampling(self) -> Values:
        """The sampling settings that it gives."""
        given = {name: getattr(self, name) for name in sampling.KEYS}
        found = {name: value for name, value in given.items() if value is not None}
        return found | {"scheduler": None} if self.scheduler == OF_BASE else found


KEYS = tuple(field.name for field in fields(GivenContestant))


def read(
    key: str, values: Values, steps: tuple[int, ...], defaults: SuiteDefaults = WORLD
) -> ContestantSettings:
    """The contestant that a suite describes under `contestants.<key>`, all steps alike.

    steps: the suite's, for a contestant that names none.  Raises UsageError.
    """
    where = f"contestants.{key}"
    if not NAME.fullmatch(key):
        raise UsageError(f"contestants.{key[:40]}: a contestant's name holds letters, digits, '_', "
                         "'.' and '-', at most 100")  # fmt: skip
    present = {name: value for name, value in values.items() if value is not None}
    given = validation.read(GivenContestant, present, where)
    source, weights = _source(where, given)
    plain = ContestantSettings(
        key=key,
        method=given.method or key,
        source=source,
        weights=weights,
        base=given.pipeline or given.base or defaults.base or DEFAULT_BASE,
        steps=(),
        sampling=Sampling(),
        precision=given.precision or defaults.precision,
        vae=given.vae or defaults.vae or "",
        vae_precision=given.vae_precision or defaults.vae_precision,
        read_at=given.read_at or "",
        unverified=given.unverified or "",
    )
    if key in ANCHORS:
        own = ("base", "images", "precision", "vae", "vae_precision")
        _only(where, present, own, f"{key!r} is an anchor and")
        return replace(plain, source=key)
    if source == "images":
        _only(where, present, ("images", "method"), "a folder of images")
        return replace(plain, precision="fp32", vae="", vae_precision=None)
    start = _start(where, key, given, defaults)
    is_flows = start is not None and start.scheduler in FLOWS  # a student, which has no guidance
    guidance = 1.0 if given.guidance is None and is_flows else given.guidance
    drawn = replace(
        plain,
        steps=given.steps or steps,
        sampling=replace(start or Sampling(), **given.of_sampling),
        assumed=start is None and given.scheduler is None and source in ("lora", "unet"),
        drawn_as=given.like or (key if key in defaults.methods else ""),
        lora_scale=given.lora_scale,
        size=given.size,
        stack=given.stack or (),
        storage=given.storage or "",
        own=own_call.read(where, guidance, given.call, given.scheduler_config),
    )
    _fits(where, drawn)
    return drawn


def _only(where: str, present: Values, valid: tuple[str, ...], what: str) -> None:
    for name in present:
        if name not in valid:
            but = " and ".join(map(repr, valid))
            raise UsageError(f"{where}.{name}: {what} takes no setting but {but}")


def _source(where: str, given: GivenContestant) -> tuple[str, str]:
    """Where its images come from, and the value given for that. A LoRA beside a pipeline is one on
    that base."""
    found = [(name, getattr(given, name)) for name in SOURCES if getattr(given, name) is not None]
    if [name for name, _ in found] == ["lora", "pipeline"]:
        return found[0]
    if len(found) > 1:
        raise UsageError(f"{where}: has both {found[0][0]!r} and {found[1][0]!r}; give one of them")
    return found[0] if found else ("base", "")


def _start(
    where: str, key: str, given: GivenContestant, defaults: SuiteDefaults
) -> Sampling | None:
    """The sampling of the method given; else as its weights' card, its own name, its recipe or what
    its weights were trained with says; None where nothing does."""
    methods = defaults.methods
    if given.like is not None and defaults.base is not None:
        return None  # all that it is like in has been copied (`per_step`)
    if given.like is not None:
        if given.like not in methods:
            raise UsageError(f"{where}.like={given.like}: {nearest(given.like, methods)}")
        return methods[given.like]
    weights = given.lora or given.unet
    if weights and (carded := sampling.of_weights(weights)) is not None:
        return carded
    if key in methods:
        return methods[key]
    if given.recipe is not None:
        return sampling.of_recipe(recipe.load(given.recipe))
    return sampling.of_older_weights(weights) if weights else None


def _fits(where: str, settings: ContestantSettings) -> None:
    """Refuse steps that the scheduler cannot make."""
    how, most = settings.sampling, max(settings.steps)
    if how.timesteps is not None:
        if how.scheduler is None or how.scheduler in OWN_STEPS:
            valid = nearest("", (s for s in get_args(Scheduler) if s not in OWN_STEPS))
            raise UsageError(f"{where}.timesteps: needs a scheduler that takes them; {valid}")
        if list(how.timesteps) != sorted(how.timesteps, reverse=True):
            raise UsageError(f"{where}.timesteps={list(how.timesteps)}: must descend")
        count = len(how.timesteps)
        if settings.steps != (count,):
            drawn = " and ".join(map(str, settings.steps))
            raise UsageError(
                f"{where}.timesteps={list(how.timesteps)}: are {count}, but it is drawn in {drawn} "
                f"steps; valid: {where}.steps={count}, or as many timesteps as steps"
            )
    elif how.scheduler in ("lcm", "tcd") and most > (how.original_steps or 50):
        original = how.original_steps or 50
        raise UsageError(f"{where}: {most} steps cannot be cut from original_steps={original}")
