"""What a suite is: a frozen, validated description of one benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.errors import UsageError, nearest
from bench.statistics import margins
from bench.statistics.claims import Stated
from bench.statistics.margins import Margin
from bench.suite import claims, contestant, fields, per_step, protocols
from bench.suite import margins as given_margins
from bench.suite.contestant import Ground, Row, Settings

FOLDER = Path(__file__).resolve().parents[2] / "suites"
KEYS = ("title", "version", "steps", "prompts", "seeds", "metrics", "contestants", "margins",
        "limits", "claims", "size", "base", "precision", "preset", "repeats")  # fmt: skip
REQUIRED = ("title", "version", "steps", "prompts", "metrics", "contestants")
RANDOM = "random weights, no quality meaning"
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Repeats:
    """The first n prompts are drawn with all these seeds as well, for `diversity` alone."""

    n: int
    seeds: tuple[int, ...]

    @property
    def words(self) -> str:
        """For the metric's identity."""
        return f"the first {self.n} prompts, seeds {','.join(map(str, self.seeds))}"


@dataclass(frozen=True)
class Suite:
    """One benchmark: which images are made, and how they are judged.

    prompt_set, n: which prompts (n is None: all of a file).  seeds: every prompt is drawn once
    per seed.  size: height and width of the images in pixels.  margins: the smallest difference
    that matters, per metric; limits: how much slower or larger (in memory) a contestant may get.
    claims: about methods, for the run to judge.  published: it stands on a base of its own, not
    on the world's.  absent: contestants that have nothing at these numbers of steps.
    metric_settings: of published evaluators, by metric, where they differ from the usual.
    preset: the published protocol it takes what it does not say itself from.
    repeats: what `diversity` is measured on; None: on all images, so that `seeds` are several.
    """

    name: str
    title: str
    version: int
    steps: tuple[int, ...]
    prompt_set: str
    n: int | None
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    contestants: tuple[Settings, ...]
    margins: dict[str, Margin]
    size: int = 64
    limits: dict[str, Margin | None] = field(default_factory=dict)
    claims: tuple[Stated, ...] = ()
    published: bool = False
    absent: tuple[str, ...] = ()
    metric_settings: dict[str, dict[str, str]] = field(default_factory=dict)
    preset: str = ""
    repeats: Repeats | None = None

    @property
    def rows(self) -> list[Row]:
        """The lines of the result."""
        return contestant.rows(self.contestants)


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


def read(name: str, values: dict[str, Any], images: Path | None = None) -> Suite:
    """The suite that a mapping describes. `images`: a folder that competes as well.

    Raises UsageError: unknown key, wrong type, a value out of range, a missing key.
    """
    from bench.metrics import NAMES

    given = protocols.applied(fields.mapping("", values, KEYS))
    for key in REQUIRED:
        if given.get(key) is None:
            raise UsageError(f"suite {name}: key {key!r} is missing")
    prompts = fields.mapping("prompts", given["prompts"], ("set", "n"))
    n = prompts.get("n")
    metric_settings = _metric_settings(given["metrics"], NAMES)
    metrics = tuple(metric_settings) or fields.choices("metrics", given["metrics"], NAMES)
    if given.get("base") is not None and "fid_teacher" in metrics:
        of_teacher = metric_settings.setdefault("fid_teacher", {})
        of_teacher.setdefault("reference", _teacher(fields.text("base", given["base"])))
    steps = fields.integers("steps", given["steps"], 1, per_step.MAX_STEPS)
    sizes = fields.mapping("margins", given.get("margins") or {}, NAMES)
    limits = fields.mapping("limits", given.get("limits") or {}, margins.LIMITS)
    named = _named(given["contestants"], images)
    found = _contestants(named, steps, _ground(given))
    return Suite(
        name=name,
        title=fields.line("title", given["title"]),
        version=fields.integer("version", given["version"], 1),
        steps=steps,
        prompt_set=fields.text("prompts.set", prompts.get("set")),
        n=None if n is None else fields.integer("prompts.n", n, 2, 1_000_000),
        seeds=fields.integers("seeds", given.get("seeds", [0]), 0, MAX_SEED),
        metrics=metrics,
        contestants=found,
        margins={key: given_margins.read(f"margins.{key}", m) for key, m in sizes.items()},
        size=fields.integer("size", given.get("size", 64), 8, 4096),
        limits={key: given_margins.read_limit(f"limits.{key}", m) for key, m in limits.items()},
        claims=claims.read(given.get("claims") or [], metrics),
        published=given.get("base") is not None,
        absent=tuple(key for key in named if key not in {one.key for one in found}),
        metric_settings=metric_settings,
        preset=given.get("preset") or "",
        repeats=_repeats(given.get("repeats"), metrics),
    )


def _repeats(value: Any, metrics: tuple[str, ...]) -> Repeats | None:
    if value is None or "diversity" not in metrics:
        return None
    given = fields.mapping("repeats", value, ("n", "seeds"))
    seeds = fields.integers("repeats.seeds", given.get("seeds"), 0, MAX_SEED)
    if len(seeds) < 2:
        raise UsageError(f"repeats.seeds={list(seeds)}: must be two seeds or more")
    return Repeats(fields.integer("repeats.n", given.get("n"), 1, 1_000_000), seeds)


def _metric_settings(values: Any, valid: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """What `metrics: {clip: {model: ...}}` says of each; nothing where they are just named."""
    if not isinstance(values, dict):
        return {}
    given = fields.mapping("metrics", values, valid)
    of_each = {k: fields.mapping(f"metrics.{k}", v or {}) for k, v in given.items()}
    return {k: {name: str(value) for name, value in v.items()} for k, v in of_each.items()}


def _teacher(base: str) -> str:
    """What the reference of a base model's own images is called, whoever hosts it."""
    return f"teacher_{base.split('@')[0].rstrip('/').rsplit('/', 1)[-1]}"


def _ground(given: dict[str, Any]) -> Ground:
    base = given.get("base")
    precision = given.get("precision", "fp32")
    return Ground(
        base=None if base is None else fields.text("base", base),
        precision=fields.choice("precision", precision, contestant.PRECISIONS),
    )


def _named(values: Any, images: Path | None) -> dict[str, Any]:
    """The contestants as given, with the folder of images that competes as well."""
    given = fields.mapping("contestants", values)
    if images is not None:
        key = images.resolve().name
        if key in given:
            raise UsageError(f"images={images}: the suite has a contestant {key!r}; rename one")
        given[key] = {"images": str(images)}
    return given


def with_random_weights(suite: Suite) -> Suite:
    """The suite with networks of the same shapes but random weights, marked so in its title. Their
    pictures are not judged: scores would mean nothing, and evaluators would have to be fetched."""
    drawn = tuple(replace(c, source="random", weights="") if c.steps else c
                  for c in suite.contestants)  # fmt: skip
    title = f"{suite.title} ({RANDOM})"
    return replace(suite, title=title, contestants=drawn, metrics=(), claims=())


def with_compiled_networks(suite: Suite) -> Suite:
    """The suite with every UNet run through torch.compile."""
    drawn = tuple(replace(c, compiled=bool(c.steps)) for c in suite.contestants)
    return replace(suite, contestants=drawn)


def _contestants(
    named: dict[str, Any], steps: tuple[int, ...], ground: Ground
) -> tuple[Settings, ...]:
    found = contestant.read_all(named, steps, ground)
    if not found:
        raise UsageError("contestants={}: must name at least one contestant")
    names = [row.name for row in contestant.rows(found)]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"contestants: two of them are called {name!r}")
    return found
