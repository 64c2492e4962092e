"""Captions of scenes, wrong captions that differ in one value, and a parser.

The grammar can be read back exactly: `parse(caption)` gives the spec, so that the oracle needs a
prompt's text alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hypersd.shapes.raters import qualities
from hypersd.shapes.scenes import (
    COLOURS,
    MAX_THINGS,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    Spec,
    Thing,
    generator,
    possible,
)

NUMBERS = ("a", "two", "three")
PLURALS = {shape: f"{shape}es" if shape == "cross" else f"{shape}s" for shape in SHAPES}
SIZE_WORDS = {
    "small": ("small", "little"),
    "medium": ("medium", "mid-sized"),
    "large": ("large", "big"),
}
RELATION_WORDS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
    "inside": ("inside", "within"),
    "in front of": ("in front of", "partly covering"),
}
OPENINGS = ("", "", "a picture of ", "there is ")
STYLE_WORDS = {  # what evaluators' captions may say; each pair is (low, high)
    "sharpness": ("blurry", "sharp"),
    "shading": ("flat", "shaded"),
    "harmony": ("clashing", "harmonious"),
    "clean": ("grainy", "clean"),
}


@dataclass(frozen=True)
class Phrasing:
    """Which of the possible wordings is used; the same phrasing says another spec alike."""

    opening: int = 0
    synonym: int = 0
    background: str | None = None
    style: tuple[str, ...] = ()


def caption(scene: Scene, *, with_style: bool = False) -> str:
    """The caption of a scene. Its wording is drawn from the scene's own caption stream.

    with_style: name two of the four style values in half of the captions, as alt-texts do
    (evaluators train on these; the diffusion model never sees one).
    """
    rng = generator(scene.split, scene.index, 1)
    phrasing = sample_phrasing(rng, scene)
    if with_style and rng.random() < 0.5:
        phrasing = with_style_words(phrasing, rng, scene)
    return phrase(scene.spec, phrasing)


def sample_phrasing(rng: np.random.Generator, scene: Scene) -> Phrasing:
    """A wording; the background is named in half of the draws."""
    opening, synonym = int(rng.random() * len(OPENINGS)), int(rng.random() * 8)
    return Phrasing(opening, synonym, scene.background if rng.random() < 0.5 else None)


def with_style_words(phrasing: Phrasing, rng: np.random.Generator, scene: Scene) -> Phrasing:
    """The same wording, and two of the four style values named."""
    first = int(rng.random() * 4)
    names = tuple(STYLE_WORDS)
    chosen = (names[first], names[(first + 1 + int(rng.random() * 3)) % 4])
    found = qualities(scene)
    words = tuple(STYLE_WORDS[name][found[name] > 0.5] for name in chosen)
    return replace(phrasing, style=words)


def wrong_style(phrasing: Phrasing, rng: np.random.Generator) -> Phrasing:
    """The same wording with one of its style words turned into its opposite."""
    opposite = {a: b for pair in STYLE_WORDS.values() for a, b in (pair, pair[::-1])}
    at = int(rng.random() * len(phrasing.style))
    words = tuple(opposite[w] if i == at else w for i, w in enumerate(phrasing.style))
    return replace(phrasing, style=words)


def phrase(spec: Spec, phrasing: Phrasing) -> str:
    """A spec in words; the bits of `phrasing.synonym` choose size, relation and second size."""
    things = spec.things
    bits = phrasing.synonym
    if spec.relation is not None:
        link = RELATION_WORDS[spec.relation][bits >> 1 & 1]
        core = f"{_thing(things[0], 1, bits)} {link} {_thing(things[1], 1, bits >> 2)}"
    elif len(set(things)) == 1:
        core = _thing(things[0], len(things), bits)
    else:
        said = [_thing(t, 1, bits) for t in things]
        core = ", ".join(said[:-1]) + f" and {said[-1]}"
    if phrasing.background is not None:
        core += f" on a {phrasing.background} background"
    if phrasing.style:
        core += ", " + " and ".join(phrasing.style)
    return OPENINGS[phrasing.opening % len(OPENINGS)] + core


def _thing(thing: Thing, count: int, bits: int) -> str:
    noun = thing.shape if count == 1 else PLURALS[thing.shape]
    return f"{NUMBERS[count - 1]} {SIZE_WORDS[thing.size][bits & 1]} {thing.colour} {noun}"


_SIZES = {word: size for size, words in SIZE_WORDS.items() for word in words}
_NOUNS = {**{s: s for s in SHAPES}, **{p: s for s, p in PLURALS.items()}}
_LINKS = {word: name for name, words in RELATION_WORDS.items() for word in words}


def _any(words: Iterator[str] | tuple[str, ...]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_THING = re.compile(
    rf"\b({_any(NUMBERS)}) ({_any(tuple(_SIZES))}) ({_any(tuple(COLOURS))}) "
    rf"({_any(tuple(_NOUNS))})\b"
)
_LINK = re.compile(rf"^ ({_any(tuple(_LINKS))}) $")


def parse(text: str) -> Spec | None:
    """The spec a caption tells, or None where the text is not of the grammar."""
    text = " ".join(text.lower().split())
    found = list(_THING.finditer(text))
    if not found:
        return None
    things = [Thing(_NOUNS[m[4]], m[3], _SIZES[m[2]]) for m in found]
    if len(found) == 1:
        return Spec((things[0],) * (NUMBERS.index(found[0][1]) + 1))
    if len(found) == 2:
        link = _LINK.match(text[found[0].end() : found[1].start()])
        return Spec((things[0], things[1]), _LINKS[link[1]] if link else None)
    return Spec(tuple(things)) if len(things) <= MAX_THINGS else None


def variants(spec: Spec, attribute: str) -> list[Spec]:
    """Every spec that differs from `spec` in one value of `attribute` and could be drawn.

    attribute: "shape", "colour", "size", "relation" or "count". A count's things change together.
    Raises ValueError for another attribute.
    """
    if attribute == "relation":
        return _other_relations(spec)
    counted = spec.relation is None and len(set(spec.things)) == 1
    if attribute == "count":
        if not counted:
            return []
        numbers = [n for n in range(1, MAX_THINGS + 1) if n != len(spec.things)]
        return [Spec((spec.things[0],) * n) for n in numbers]
    values = {"shape": SHAPES, "colour": tuple(COLOURS), "size": tuple(SIZES)}
    if attribute not in values:
        raise ValueError(f"no attribute {attribute!r}; there are shape, colour, size, relation")
    result = []
    for i in range(1 if counted else len(spec.things)):
        for value in values[attribute]:
            if value != getattr(spec.things[i], attribute):
                new = _with(spec.things[i], attribute, value)
                things = tuple(
                    new if counted or j == i else thing for j, thing in enumerate(spec.things)
                )
                if counted or _drawable(things, spec.relation):
                    result.append(Spec(things, spec.relation))
    return result


def _drawable(things: tuple[Thing, ...], relation: str | None) -> bool:
    distinct = len({(t.shape, t.colour) for t in things}) == len(things)
    return distinct and (relation is None or possible(things[0], things[1], relation))


def _with(thing: Thing, attribute: str, value: str) -> Thing:
    fields = {"shape": thing.shape, "colour": thing.colour, "size": thing.size, attribute: value}
    return Thing(**fields)


def _other_relations(spec: Spec) -> list[Spec]:
    """Other relations between the same two things, those left out that their sizes forbid."""
    if spec.relation is None:
        return []
    a, b = spec.things
    others = [r for r in RELATIONS if r != spec.relation]
    return [Spec(spec.things, r) for r in others if possible(a, b, r)]
