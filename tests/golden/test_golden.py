"""Identities, pictures and numbers are those of the files here, which make.py wrote.

A cache, a shipped feature or a kept training of a user is found again only while identities stay
the same to the last digit. Pictures may differ by rounding, numbers by what that does to them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.golden import current

ROUNDING = 1  # of 255, per pixel value
RELATIVE, ABSOLUTE = 1e-3, 1e-4
CHANCE = 1e-2  # of a p value, relatively: permutations that tie fall to either side
FLOORS = {"low": 2e-3, "high": 2e-3, "prompts_needed": 1}  # the ends of an interval may be near 0


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


IDENTITIES = read(current.HERE / "identities.json")
NUMBERS = read(current.HERE / "numbers.json")
ROWS = sorted(path.stem for path in (current.HERE / "pictures").glob("*.png"))


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read(current.made("identities", tmp_path_factory.mktemp("now")) / "identities.json")


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read(current.made("numbers", tmp_path_factory.mktemp("now")) / "numbers.json")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return current.made("pictures", tmp_path_factory.mktemp("now")) / "pictures"


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no list and no mapping, with its path; of empty ones themselves."""
    if not value or not isinstance(value, dict | list):
        yield place, value
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(inner, f"{place} / {key}" if place else str(key))


def equal(place: str, then: Any, now: Any) -> bool:
    return bool(then == now)


def near(place: str, then: Any, now: Any) -> bool:
    name = place.split(" / ")[-1]
    if name != "prompts_needed" and {type(then), type(now)} != {float}:
        return bool(then == now)
    share = CHANCE if name == "p" or name.startswith("p_") else RELATIVE
    return abs(now - then) <= max(FLOORS.get(name, ABSOLUTE), share * abs(then))


def assert_all(same: Callable[[str, Any, Any], bool], then: Any, now: Any) -> None:
    """Name every entry that is gone, new or not the same."""
    old, new = dict(leaves(then)), dict(leaves(now))
    found = [f"{place}: was {value!r}, is {new[place]!r}"
             for place, value in old.items()
             if place in new and not same(place, value, new[place])]  # fmt: skip
    found += [f"{place}: is gone" for place in old if place not in new]
    found += [f"{place}: is new" for place in new if place not in old]
    assert not found, "\n".join([f"{len(found)} entries differ", *found])


def test_the_same_plans_are_named(identities: Any) -> None:
    assert list(identities["plans"]) == list(IDENTITIES["plans"])


@pytest.mark.parametrize("words", IDENTITIES["plans"])
def test_identities_of_a_plan(words: str, identities: Any) -> None:
    assert_all(equal, IDENTITIES["plans"][words], identities["plans"].get(words))


def test_identities_of_recipes(identities: Any) -> None:
    assert_all(equal, IDENTITIES["recipes"], identities["recipes"])


def test_the_same_rows_are_drawn(pictures: Path) -> None:
    assert sorted(path.stem for path in pictures.glob("*.png")) == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_pictures_of_a_row(row: str, pictures: Path) -> None:
    then, now = (
        np.asarray(Image.open(folder / f"{row}.png"), dtype=int)
        for folder in (current.HERE / "pictures", pictures)
    )
    assert now.shape == then.shape
    apart = np.abs(now - then)
    worst = [int(tile.max()) for tile in np.split(apart, 8, axis=1)]
    assert max(worst) <= ROUNDING, f"{row}: apart by at most {worst} of 255, by prompt"


@pytest.mark.parametrize("part", NUMBERS)
def test_numbers_of_a_run(part: str, numbers: Any) -> None:
    assert_all(near, NUMBERS[part], numbers[part])
