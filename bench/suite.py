"""What a suite is: a frozen, validated description of one benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import claims, fields, margins, settings
from bench.claims import Stated
from bench.errors import UsageError, nearest
from bench.margins import Margin
from bench.settings import Row, Settings

FOLDER = Path(__file__).resolve().parent.parent / "suites"
KEYS = ("title", "version", "steps", "prompts", "seeds", "metrics", "contestants", "margins",
        "limits", "claims", "size")  # fmt: skip
REQUIRED = ("title", "version", "steps", "prompts", "metrics", "contestants")
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Suite:
    """One benchmark: which images are made, and how they are judged.

    prompt_set, n: which prompts (n is None: all of a file).  seeds: every prompt is drawn once
    per seed.  size: height and width of the images in pixels.  margins: the smallest difference
    that matters, per metric; limits: how much slower or larger (in memory) a contestant may get.
    claims: about methods, for the run to judge.
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

    @property
    def rows(self) -> list[Row]:
        """The lines of the result."""
        return settings.rows(self.contestants)


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
    from bench.metrics import METRICS

    given = fields.mapping("", values, KEYS)
    for key in REQUIRED:
        if given.get(key) is None:
            raise UsageError(f"suite {name}: key {key!r} is missing")
    prompts = fields.mapping("prompts", given["prompts"], ("set", "n"))
    n = prompts.get("n")
    metrics = fields.choices("metrics", given["metrics"], METRICS)
    steps = fields.integers("steps", given["steps"], 1, settings.MAX_STEPS)
    sizes = fields.mapping("margins", given.get("margins") or {}, METRICS)
    limits = fields.mapping("limits", given.get("limits") or {}, margins.LIMITS)
    return Suite(
        name=name,
        title=fields.text("title", given["title"]),
        version=fields.integer("version", given["version"], 1),
        steps=steps,
        prompt_set=fields.text("prompts.set", prompts.get("set")),
        n=None if n is None else fields.integer("prompts.n", n, 2, 1_000_000),
        seeds=fields.integers("seeds", given.get("seeds", [0]), 0, MAX_SEED),
        metrics=metrics,
        contestants=_contestants(given["contestants"], steps, images),
        margins={key: margins.read(f"margins.{key}", m) for key, m in sizes.items()},
        size=fields.integer("size", given.get("size", 64), 8, 4096),
        limits={key: margins.read_limit(f"limits.{key}", m) for key, m in limits.items()},
        claims=claims.read(given.get("claims") or [], metrics),
    )


def _contestants(values: Any, steps: tuple[int, ...], images: Path | None) -> tuple[Settings, ...]:
    given = fields.mapping("contestants", values)
    if images is not None:
        key = images.resolve().name
        if key in given:
            raise UsageError(f"images={images}: the suite has a contestant {key!r}; rename one")
        given[key] = {"images": str(images)}
    found = tuple(settings.read(key, value, steps) for key, value in given.items())
    if not found:
        raise UsageError("contestants={}: must name at least one contestant")
    names = [row.name for row in settings.rows(found)]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"contestants: two of them are called {name!r}")
    return found
