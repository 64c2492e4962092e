"""Scenes of the embedded world: what is drawn, and which split a scene belongs to.

A scene is a pure function of (split, index): one to three things, at most one relation, a
background and a style. Only `Generator.random()` is drawn from, the one numpy stream that never
changed, so an index names the same scene on every machine.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")

CANVAS = 64
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "diamond", "ring")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 38, 40),
    "orange": (245, 140, 28),
    "yellow": (246, 224, 50),
    "green": (46, 164, 66),
    "cyan": (64, 206, 216),
    "blue": (44, 76, 208),
    "purple": (136, 54, 178),
    "pink": (246, 128, 190),
}
HUES = {  # degrees, of the colours above; palette harmony is measured from them
    "red": 359, "orange": 31, "yellow": 53, "green": 130,
    "cyan": 184, "blue": 228, "purple": 280, "pink": 328,
}  # fmt: skip
SIZES = {"small": 7.5, "medium": 10.5, "large": 14.5}  # circumradius in pixels
RELATIONS = ("left of", "right of", "above", "below", "inside", "in front of")
BACKGROUNDS = ("plain", "gradient", "striped", "checkered", "dotted", "cloudy")
MATCHES = (30.0, 180.0, 330.0)  # turns between hues that go well together, in degrees
SPLITS = {"train": (0, 70), "validation": (70, 85), "test": (85, 100)}  # buckets of 100
CONTAINERS = ("circle", "square", "triangle", "heart", "diamond", "ring")
MAX_THINGS = 3


@dataclass(frozen=True)
class Thing:
    """One object by its attributes, the values of `SHAPES`, `COLOURS` and `SIZES`."""

    shape: str
    colour: str
    size: str


@dataclass(frozen=True)
class Spec:
    """The content of a caption: the things of a scene, and the relation of the first to the second.

    A count is the same thing repeated, without a relation.
    """

    things: tuple[Thing, ...]
    relation: str | None = None

    def key(self) -> str:
        """The attribute combination, equal for two ways to say the same scene."""
        things, relation = self.things, self.relation
        if relation in ("right of", "below"):
            things = (things[1], things[0])
            relation = {"right of": "left of", "below": "above"}[relation]
        if relation is None:
            things = tuple(sorted(things, key=str))
        parts = [f"{t.shape},{t.colour},{t.size}" for t in things]
        return "|".join([*parts, relation or ""])

    def split(self) -> str:
        """The split that owns this combination: splits never share one."""
        bucket = hashlib.blake2b(self.key().encode(), digest_size=4).digest()
        value = int.from_bytes(bucket, "big") % 100
        return next(name for name, (low, high) in SPLITS.items() if low <= value < high)


@dataclass(frozen=True)
class Place:
    """The place of a thing: centre and circumradius in pixels, angle in radians."""

    x: float
    y: float
    radius: float
    angle: float


@dataclass(frozen=True)
class Style:
    """The style of a picture, which raters see and captions for training do not name; all in [0,
    1].

    sharpness: 1 = no blur.  shading: strength of the light.  clean: 1 = no grain.
    """

    sharpness: float
    shading: float
    clean: float


@dataclass(frozen=True)
class Scene:
    """Everything a picture is drawn from; places run from the back to the front as drawn."""

    split: str
    index: int
    spec: Spec
    places: tuple[Place, ...]
    background: str
    background_hue: float
    background_value: float
    style: Style

    def composition(self) -> float:
        """1 where the things' common centre is the canvas's centre, 0 from 20 px away."""
        weights = [p.radius**2 for p in self.places]
        x = sum(w * p.x for w, p in zip(weights, self.places, strict=True)) / sum(weights)
        y = sum(w * p.y for w, p in zip(weights, self.places, strict=True)) / sum(weights)
        return 1.0 - min(1.0, math.hypot(x - CANVAS / 2, y - CANVAS / 2) / 20.0)

    def harmony(self) -> float:
        """How well the background's hue goes with the things' hues, the mean over them: 1 where it
        is a thing's complement or its neighbour (30 degrees), 0 where it is farthest from these."""
        turns = [(self.background_hue - HUES[t.colour]) % 360.0 for t in self.spec.things]
        off = [min(abs(turn - best) for best in MATCHES) for turn in turns]
        return 1.0 - sum(off) / len(off) / 75.0


def generator(split: str, index: int, purpose: int = 0) -> np.random.Generator:
    """The random stream of one purpose (0 scene, 1 caption, 2 grain, 3 raters) of one index."""
    return np.random.Generator(np.random.PCG64([list(SPLITS).index(split), index, purpose]))


def choose(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of `options`, each as likely."""
    return options[int(rng.random() * len(options))]


def sample_scene(split: str, index: int) -> Scene:
    """Scene `index` of `split` ("train", "validation" or "test").

    Raises ValueError for an unknown split or a negative index.
    """
    if split not in SPLITS or index < 0:
        raise ValueError(f"no scene {split!r}/{index}; splits are {', '.join(SPLITS)}")
    rng = generator(split, index)
    while True:
        spec = sample_spec(rng)
        if spec.split() != split:
            continue
        places = sample_places(rng, spec)
        if places is not None:
            break
    style = Style(*(float(rng.random()) for _ in range(3)))
    return Scene(
        split=split,
        index=index,
        spec=spec,
        places=places,
        background=choose(rng, BACKGROUNDS),
        background_hue=360.0 * float(rng.random()),
        background_value=0.22 + 0.7 * float(rng.random() > 0.3),
        style=style,
    )


def sample_spec(rng: np.random.Generator) -> Spec:
    """Draw attributes: one thing 20 %, a count 20 %, a relation 45 %, a list of three 15 %."""
    kind = rng.random()
    if kind < 0.20:
        return Spec((_thing(rng, tuple(SIZES)),))
    if kind < 0.40:
        count = choose(rng, (2, 3))
        return Spec((_thing(rng, tuple(SIZES)[: 5 - count]),) * count)
    if kind < 0.85:
        return _related(rng)
    things = [_thing(rng, tuple(SIZES)[:2])]
    while len(things) < MAX_THINGS:
        other = _thing(rng, tuple(SIZES)[:2])
        if all((t.shape, t.colour) != (other.shape, other.colour) for t in things):
            things.append(other)
    return Spec(tuple(things))


def _thing(rng: np.random.Generator, sizes: Sequence[str]) -> Thing:
    return Thing(choose(rng, SHAPES), choose(rng, tuple(COLOURS)), choose(rng, sizes))


def _related(rng: np.random.Generator) -> Spec:
    relation = choose(rng, RELATIONS)
    while True:
        a, b = _thing(rng, tuple(SIZES)), _thing(rng, tuple(SIZES))
        if (a.shape, a.colour) != (b.shape, b.colour) and possible(a, b, relation):
            return Spec((a, b), relation)


def possible(a: Thing, b: Thing, relation: str) -> bool:
    """Whether `a relation b` can be drawn without ambiguity.

    Inside: a small thing in a large one that encloses it, of another colour. In front of: the
    thing behind is at least as large, not small, and of another colour, so enough of it shows.
    """
    if relation == "inside":
        return (
            a.size == "small"
            and b.size == "large"
            and b.shape in CONTAINERS
            and a.colour != b.colour
        )
    if relation == "in front of":
        return b.size != "small" and SIZES[a.size] <= SIZES[b.size] and a.colour != b.colour
    return True


def sample_places(rng: np.random.Generator, spec: Spec) -> tuple[Place, ...] | None:
    """Places for a spec, or None where 200 draws found none that fit."""
    radii = [SIZES[t.size] * (0.94 + 0.12 * rng.random()) for t in spec.things]
    angles = [(rng.random() - 0.5) * 0.4 for _ in radii]
    for _ in range(200):
        centres = _centres(rng, spec.relation, radii)
        if centres is not None and all(
            r + 1 <= c <= CANVAS - r - 1 for r, xy in zip(radii, centres, strict=True) for c in xy
        ):
            rows = zip(centres, radii, angles, strict=True)
            return tuple(Place(x, y, r, a) for (x, y), r, a in rows)
    return None


def _centres(
    rng: np.random.Generator, relation: str | None, radii: list[float]
) -> list[tuple[float, float]] | None:
    spots = [
        (r + 1 + rng.random() * (CANVAS - 2 * r - 2), r + 1 + rng.random() * (CANVAS - 2 * r - 2))
        for r in radii
    ]
    if relation is None:
        return spots if _apart(spots, radii) else None
    reach = radii[0] + radii[1]
    x, y = spots[1]
    if relation == "inside":
        turn, far = rng.random() * 2 * math.pi, 1.0 * rng.random()
    elif relation == "in front of":
        turn, far = rng.random() * 2 * math.pi, reach * (0.6 + 0.2 * rng.random())
    else:
        turn = {"right of": 0.0, "below": 0.5, "left of": 1.0, "above": 1.5}[relation] * math.pi
        turn += (rng.random() - 0.5) * 0.7
        far = reach * 1.08 + 2 + rng.random() * 12
    return [(x + far * math.cos(turn), y + far * math.sin(turn)), (x, y)]


def _apart(spots: list[tuple[float, float]], radii: list[float]) -> bool:
    return all(
        math.dist(spots[i], spots[j]) >= (radii[i] + radii[j]) * 1.05 + 1
        for i in range(len(spots))
        for j in range(i)
    )
