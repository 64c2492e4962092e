"""A suite: the frozen, validated description of one benchmark.

A suite may make claims about methods (`bench.statistics.claims` says what they mean):

    claims:
      - {a: tcd, is: better, than: lcm, metric: fid, steps: 4}
      - {a: tscd, is: not_worse, than: teacher, metric: faithful}

and say which comparisons it is made for (`bench.statistics.families`):

    primary:
      - {of: hyper_sd, metrics: [fid, clip]}

Several trainings of a method are several contestants `method: tcd`, trained with other seeds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from bench.errors import UsageError, nearest
from bench.statistics.claims import Stated
from bench.statistics.families import Primary
from bench.statistics.margins import LIMITS, Margin
from bench.statistics.metrics import METRICS, measured_on
from bench.suite import contestant, per_step, protocols
from bench.suite.contestant import (
    DEFAULT_BASE,
    ContestantSettings,
    Pixels,
    Precision,
    Row,
    StepCount,
    SuiteDefaults,
)
from hypersd import validation
from hypersd.package_data import packaged
from hypersd.validation import Count, Distinct, Line, OneOrMore, Text

FOLDER = packaged("bench", "suites")
RANDOM = "random weights, no quality meaning"
MAX_SEED = 2**32 - 1
PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def _margin(given: Margin) -> Margin:
    """A margin above 0: a number, or a percentage as "5%". Raises ValueError."""
    match = PERCENT.fullmatch(given.strip()) if isinstance(given, str) else None
    if isinstance(given, str) and match is None:
        raise ValueError("must be a number, or a percentage as '5%'")
    size = float(match[1]) if match else float(given)
    if not math.isfinite(size) or size <= 0:
        raise ValueError("must be above 0; the smallest difference that matters")
    return f"{size:g}%" if match else size


def _percentage(given: Margin) -> Margin:
    """A percentage above 0. Raises ValueError."""
    found = _margin(given)
    if not isinstance(found, str):
        raise ValueError("must be a percentage as '50%', or null for no limit")
    return found


Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


@dataclass(frozen=True)
class Repeats:
    """The first n prompts are drawn with all these seeds as well, for `diversity` alone."""

    n: Annotated[int, Field(ge=1, le=1_000_000)]
    seeds: OneOrMore[Seed]

    def __post_init__(self) -> None:
        """Raise ValueError for a single seed."""
        if len(self.seeds) < 2:
            raise ValueError(f"seeds={list(self.seeds)}: must be two seeds or more")

    @property
    def words(self) -> str:
        """For the metric's identity."""
        return f"the first {self.n} prompts, seeds {','.join(map(str, self.seeds))}"


@dataclass(frozen=True)
class Suite:
    """One benchmark: which images are made, and how they are judged.

    prompt_set, n: which prompts (n is None: all of a file).  prefix: words before each of them, as
    the trigger of a style's LoRA.  seeds: every prompt is drawn once
    per seed.  size: height and width of the images in pixels.  margins: the smallest difference
    that matters, per metric; limits: how much slower or larger (in memory) a contestant may get.
    claims: about methods, for the run to judge.  primary: the comparisons that it asks for; none:
    all of them.  published: it stands on a base of its own, not
    on the world's.  absent: contestants that have nothing at these numbers of steps.
    metric_settings: of published evaluators, by metric, where they differ from the usual.
    preset: the published protocol it takes what it does not say itself from.
    repeats: what `diversity` is measured on; None: on all images, so that `seeds` are several.
    keep_going: a contestant that cannot be drawn is left out, and the others are run.
    """

    name: str
    title: str
    version: int
    steps: tuple[int, ...]
    prompt_set: str
    n: int | None
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    contestants: tuple[ContestantSettings, ...]
    margins: dict[str, Margin]
    size: int = 64
    limits: dict[str, Margin | None] = field(default_factory=dict)
    claims: tuple[Stated, ...] = ()
    primary: tuple[Primary, ...] = ()
    published: bool = False
    absent: tuple[str, ...] = ()
    metric_settings: dict[str, dict[str, str]] = field(default_factory=dict)
    preset: str = ""
    repeats: Repeats | None = None
    keep_going: bool = False
    prefix: str = ""

    @property
    def rows(self) -> list[Row]:
        """The lines of the result."""
        return contestant.rows(self.contestants)


@dataclass(frozen=True)
class GivenPrompts:
    """The key `prompts` of a suite."""

    set: Text
    prefix: Line | None = None
    n: Annotated[int, Field(ge=2, le=1_000_000)] | None = None


@dataclass(frozen=True)
class GivenSuite:
    """The keys that a suite may give."""

    title: Line
    version: Count
    steps: OneOrMore[StepCount]
    prompts: GivenPrompts
    metrics: Distinct[Text]
    contestants: dict[str, dict[str, Any] | None]
    seeds: OneOrMore[Seed] = (0,)
    margins: dict[str, Annotated[float | str, AfterValidator(_margin)]] = field(
        default_factory=dict
    )
    limits: dict[str, Annotated[float | str, AfterValidator(_percentage)] | None] = field(
        default_factory=dict
    )
    claims: tuple[Stated, ...] = ()
    primary: tuple[Primary, ...] = ()
    size: Pixels = 64
    base: Text | None = None
    precision: Precision = "fp32"
    vae: Text | None = None
    vae_precision: Precision | None = None
    preset: Text | None = None
    repeats: Repeats | None = None
    keep_going: bool = False


KEYS = tuple(field.name for field in fields(GivenSuite))


def names() -> list[str]:
    """The shipped suites."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def locate(name: str) -> Path:
    """The file of a suite: by its name, or a path (with a slash, or ending in .yaml or .yml).

    Raises UsageError where there is none.
    """
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"suite={name}: no such file")
        return path
    if name not in names():
        raise UsageError(f"no suite {name!r}; {nearest(name, names())}, or a path to a .yaml")
    return FOLDER / f"{name}.yaml"


def read(name: str, values: Mapping[str, Any], images: Path | None = None) -> Suite:
    """The suite that a mapping describes. `images`: a folder that competes as well.

    Raises UsageError: unknown key, wrong type, a value out of range, a missing key.
    """
    present = {k: v for k, v in protocols.applied(values).items() if v is not None}
    metric_settings = _metric_settings(present)
    given = validation.read(GivenSuite, present, where=f"suite {name}")
    _check_metrics(f"suite {name}", given)
    known("limits", given.limits, LIMITS)
    _fit(given.claims, given.metrics)
    _check_seeds(given)
    published = is_published(given.base)
    if given.base and published and "fid_teacher" in given.metrics:
        of_teacher = metric_settings.setdefault("fid_teacher", {})
        of_teacher.setdefault("reference", teacher_reference(given.base))
    named = _named(given.contestants, images)
    defaults = SuiteDefaults(given.base, given.precision, given.vae, given.vae_precision)
    found = _contestants(named, given.steps, defaults)
    return Suite(
        name=name,
        title=given.title,
        version=given.version,
        steps=given.steps,
        prompt_set=given.prompts.set,
        n=given.prompts.n,
        seeds=given.seeds,
        metrics=given.metrics,
        contestants=found,
        margins=dict(given.margins),
        size=given.size,
        limits=dict(given.limits),
        claims=given.claims,
        primary=given.primary,
        published=published,
        absent=tuple(key for key in named if key not in {one.key for one in found}),
        metric_settings=metric_settings,
        preset=given.preset or "",
        repeats=given.repeats if any(METRICS[m].of_repeats for m in given.metrics) else None,
        keep_going=given.keep_going,
        prefix=given.prompts.prefix or "",
    )


def is_published(base: str | None) -> bool:
    """Whether a suite's base is none of the world's, whose names begin with "shapes/"."""
    return base is not None and not base.startswith(DEFAULT_BASE.split("/")[0] + "/")


def known(where: str, keys: Iterable[str], valid: Iterable[str]) -> None:
    """Raise UsageError for a key that is none of the valid ones."""
    options = list(valid)
    for key in keys:
        if key not in options:
            raise UsageError(f"unknown key {key!r} in {where}; {nearest(key, options)}")


def _check_metrics(where: str, given: GivenSuite) -> None:
    """Refuse metrics, and margins of metrics, that the suite's base cannot have."""
    published = is_published(given.base)
    valid = measured_on(published=published)
    is_other = not published and given.base not in (None, DEFAULT_BASE)
    if is_other and "fid_teacher" in given.metrics:
        raise UsageError(f"{where}: metrics=fid_teacher: its reference is of {DEFAULT_BASE}, not "
                         f"of {given.base}; valid: fid")  # fmt: skip
    for metric in given.metrics:
        if metric not in valid:
            base = "a published base" if published else "the shapes world"
            why = f"is not measured on {base}; " if metric in METRICS else ""
            raise UsageError(f"{where}: metrics={metric}: {why}{nearest(metric, valid)}")
    known("margins", given.margins, valid)


def _metric_settings(values: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What `metrics: {clip: {model: ...}}` says of each, leaving the names alone in `values`."""
    held = values.get("metrics")
    if not isinstance(held, Mapping) or not held:
        return {}
    of_each = validation.read(dict[str, dict[str, Any] | None], held, "metrics")
    values["metrics"] = list(of_each)
    return {k: {name: str(value) for name, value in (v or {}).items()} for k, v in of_each.items()}


def _fit(claims: Iterable[Stated], metrics: tuple[str, ...]) -> None:
    """Refuse a claim on what is not measured."""
    for i, claim in enumerate(claims):
        if claim.metric not in metrics:
            raise UsageError(f"claims[{i}].metric={claim.metric}: {nearest(claim.metric, metrics)}")


def _check_seeds(given: GivenSuite) -> None:
    """Refuse a metric of a prompt's seeds where they are too few."""
    seeds = given.repeats.seeds if given.repeats is not None else given.seeds
    for name in given.metrics:
        least = METRICS[name].least_seeds
        if len(seeds) < least:
            raise UsageError(
                f"metrics: {name} needs {least} seeds of a prompt or more, here are {len(seeds)}; "
                f"as repeats={{n: 200, seeds: {list(range(least))}}}"
            )


def teacher_reference(base: str) -> str:
    """The name of the reference of a base model's own images, whoever hosts the model."""
    return f"teacher_{base.split('@')[0].rstrip('/').rsplit('/', 1)[-1]}"


def _named(given: per_step.Described, images: Path | None) -> per_step.Described:
    """The contestants as given, with the folder of images that competes as well."""
    if images is None:
        return given
    key = images.resolve().name
    if key in given:
        raise UsageError(f"images={images}: the suite has a contestant {key!r}; rename one")
    return {**given, key: {"images": str(images)}}


def with_random_weights(suite: Suite) -> Suite:
    """The suite with networks of the same shapes but random weights, marked so in its title. Their
    pictures are not judged: scores would mean nothing, and evaluators would have to be fetched."""
    drawn = tuple(replace(c, source="random", weights="", stack=()) if c.steps else c
                  for c in suite.contestants)  # fmt: skip
    title = f"{suite.title} ({RANDOM})"
    return replace(suite, title=title, contestants=drawn, metrics=(), claims=(), primary=())


def with_compiled_networks(suite: Suite) -> Suite:
    """The suite with every UNet run through torch.compile."""
    drawn = tuple(replace(c, compiled=bool(c.steps)) for c in suite.contestants)
    return replace(suite, contestants=drawn)


def _contestants(
    named: per_step.Described, steps: tuple[int, ...], defaults: SuiteDefaults
) -> tuple[ContestantSettings, ...]:
    found = per_step.read_all(named, steps, defaults)
    if not found:
        raise UsageError("contestants={}: must name at least one contestant")
    names = [row.name for row in contestant.rows(found)]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"contestants: two of them are called {name!r}")
    return found
