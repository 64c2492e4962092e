"""The atoms of a prompt: single requests, each of one skill, for `skills`.

The grammar is that of GenEval's prompts (Ghosh et al. 2023, arXiv 2310.11513; MIT), whose 553 all
are of it, and of this project's own `skills` set:

    a photo of a bench                               object
    a photo of a bench and a clock                   object, object
    a photo of three clocks                          object, count
    a photo of a red car                             object, colour
    a photo of a dog left of a bench                 object, object, position
    a photo of a white cup and a black bowl          object, object, attribution, attribution

The idea of atoms with a soft answer each, arithmetic over atoms, geometric over a prompt, is that
of Soft-TIFA in GenEval 2 (arXiv 2512.16853); none of its data is used, and the questions are ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

VERSION = 1  # of the grammar and of what is asked
SKILLS = ("object", "count", "colour", "position", "attribution")
COLUMNS = ("prompt", "atoms", *SKILLS)
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
           "gray", "grey")  # fmt: skip
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
PLACES = {"left of": "to the left of", "right of": "to the right of", "above": "above",
          "below": "below", "on top of": "on top of", "under": "under"}  # fmt: skip
_START = re.compile(r"a (?:photo|picture|drawing) of (.+?)\.?", re.IGNORECASE)
_THING = re.compile(rf"(an?) (?:({'|'.join(COLOURS)}) )?(\w[\w' -]*)")
_COUNT = re.compile(rf"({'|'.join(NUMBERS)}) (\w[\w' -]*)")
_PLACED = re.compile(rf"(.+?) ({'|'.join(PLACES)}) (an? .+)")


class Atom(NamedTuple):
    """One request of a prompt. text: a description of a picture that meets it."""

    skill: str
    text: str


class _Thing(NamedTuple):
    """A thing with its colour, "" if none is named."""

    colour: str
    name: str

    @property
    def plain(self) -> str:
        return _one(self.name)

    @property
    def whole(self) -> str:
        return _one(f"{self.colour} {self.name}")


@lru_cache(maxsize=10_000)
def parse(prompt: str) -> tuple[Atom, ...] | None:
    """The atoms of a prompt; None outside of the grammar."""
    match = _START.fullmatch(" ".join(prompt.lower().split()))
    if match is None:
        return None
    if counted := _COUNT.fullmatch(match[1]):
        if " and " in counted[2]:
            return None
        return (Atom("object", counted[2]), Atom("count", f"exactly {counted[0]}, no more"))
    if (placed := _PLACED.fullmatch(match[1])) is not None:
        return _two(_thing(placed[1]), _thing(placed[3]), PLACES[placed[2]])
    first, is_two, second = match[1].partition(" and ")
    if is_two:
        return _two(_thing(first), _thing(second), "")
    return _single(_thing(first))


def _single(thing: _Thing | None) -> tuple[Atom, ...] | None:
    if thing is None:
        return None
    colour = (Atom("colour", thing.whole),) if thing.colour else ()
    return (Atom("object", thing.plain), *colour)


def _two(one: _Thing | None, other: _Thing | None, place: str) -> tuple[Atom, ...] | None:
    """Atoms of two things: attributions for named colours, a position if one is named."""
    if one is None or other is None:
        return None
    coloured = [Atom("attribution", thing.whole) for thing in (one, other) if thing.colour]
    placed = [Atom("position", f"{one.plain} {place} {other.plain}")] if place else []
    return (Atom("object", one.plain), Atom("object", other.plain), *coloured, *placed)


def _thing(text: str) -> _Thing | None:
    match = _THING.fullmatch(text)
    if match is None or "and" in match[3].split():
        return None
    return _Thing(match[2] or "", match[3])


def _one(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def means(asked: Sequence[Atom], answers: Sequence[float]) -> list[float]:
    """One row of COLUMNS: geometric mean over the atoms, arithmetic mean, that of each skill.

    answers: the probability of yes for each atom.  nan: not asked for.
    """
    if not asked:
        return [math.nan] * len(COLUMNS)
    geometric = math.exp(sum(math.log(max(p, 1e-12)) for p in answers) / len(answers))
    by_skill = [
        _mean([p for atom, p in zip(asked, answers, strict=True) if atom.skill == skill])
        for skill in SKILLS
    ]
    return [geometric, _mean(answers), *by_skill]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
