"""Plain data becomes a dataclass or one line: which place is wrong, and what would be valid."""

from __future__ import annotations

import dataclasses
import datetime
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from hypersd.errors import UsageError
from hypersd.validation import (
    Count,
    Distinct,
    Fraction,
    Line,
    Number,
    OneOrMore,
    Positive,
    one_of,
    read,
)


@dataclass(frozen=True)
class Stage:
    steps: Count
    rate: Fraction = 0.5
    teacher: Annotated[int, Field(alias="from", le=3)] = 3

    def __post_init__(self) -> None:
        if self.steps == 7:
            raise ValueError("steps=7 has no half; must be even or 1")


@dataclass(frozen=True)
class Settings:
    moves: OneOrMore[Annotated[int, Field(ge=1, le=50)]] = (1,)
    metrics: Distinct[Annotated[str, one_of(["clip", "fid"])]] = ("clip",)
    stages: list[Stage] = field(default_factory=list)
    first: Stage | None = None
    figures: dict[str, int] = field(default_factory=dict)
    kind: Literal["copy", "frozen"] = "copy"
    lr: Positive | None = None
    weight: Number = 0.0
    title: Line = "x"
    batch: int | list[int] = 3
    full: bool = False


RANGE = "must be a whole number from 1 to 50"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (3, "options=3: must be a mapping of keys to values"),
        (None, "options=null: must be a mapping of keys to values"),
        ({"tilte": "x"}, "unknown key 'tilte' in options; did you mean 'title'? valid: batch, "),
        ({"stages": [{"fron": 1}]}, "unknown key 'fron' in options.stages[0]; did you mean 'from'"),
        ({"stages": [{}]}, "options.stages[0]: key 'steps' is missing; it must be a whole number"),
        ({"stages": [3]}, "options.stages[0]=3: must be a mapping of keys to values"),
        ({"stages": [{"steps": 0}]}, "options.stages[0].steps=0: must be a whole number >= 1"),
        ({"stages": [{"steps": 1, "from": 4}]}, "options.stages[0].from=4: must be a whole number"),
        ({"stages": [{"steps": 7}]}, "options.stages[0]: steps=7 has no half; must be even or 1"),
        (
            {"first": {"steps": 1, "rate": 1.5}},
            "options.first.rate=1.5: must be a number from 0 to",
        ),
        ({"first": 1}, "options.first=1: must be a mapping of keys to values"),
        ({"moves": 51}, f"options.moves=51: {RANGE}"),
        ({"moves": [1, 0]}, f"options.moves=0: {RANGE}"),
        ({"moves": [1.0]}, f"options.moves=1.0: {RANGE}"),
        ({"moves": "1"}, f"options.moves=1: {RANGE}"),
        ({"moves": True}, f"options.moves=True: {RANGE}"),
        ({"moves": []}, "options.moves=[]: must hold at least one value"),
        ({"moves": [2, 2]}, "options.moves=[2, 2]: holds a value twice"),
        ({"metrics": "clip"}, "options.metrics=clip: must be a list"),
        ({"metrics": ["clp"]}, "options.metrics=clp: did you mean 'clip'? valid: clip, fid"),
        ({"figures": {"a": "b"}}, "options.figures.a=b: must be a whole number"),
        ({"kind": "frzen"}, "options.kind=frzen: did you mean 'frozen'? valid: copy, frozen"),
        ({"kind": 3}, "options.kind=3: valid: copy, frozen"),
        ({"lr": 0}, "options.lr=0: must be a number > 0"),
        ({"lr": float("inf")}, "options.lr=inf: must be a number > 0"),
        ({"weight": float("nan")}, "options.weight=nan: must be a number"),
        ({"weight": "1"}, "options.weight=1: must be a number"),
        ({"weight": False}, "options.weight=False: must be a number"),
        ({"title": " "}, "options.title=: must be a text"),
        (
            {"title": "\x1b]0;x"},
            r"options.title=\x1b]0;x: must be one line of printable characters",
        ),
        ({"title": 10**99}, "options.title=" + f"{10**99}"[:57] + "...: must be a text"),
        ({"batch": "x"}, "options.batch=x: must be a whole number or a list"),
        ({"full": 1}, "options.full=1: must be true or false"),
        ({"full": datetime.date(2020, 1, 1)}, "options is no plain data: it holds 2020-01-01"),
    ],
)
def test_what_is_wrong_is_one_line(data: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(Settings, data, "options", where="recipe mine")
    assert str(caught.value).startswith(f"recipe mine: {said}")


def test_an_unknown_key_is_named_before_the_key_it_should_have_been() -> None:
    with pytest.raises(UsageError, match=r"^unknown key 'stpes'; did you mean 'steps'"):
        read(Stage, {"stpes": 3})
    with pytest.raises(
        UsageError, match=r"^key 'steps' is missing; it must be a whole number >= 1"
    ):
        read(Stage, {})
    with pytest.raises(UsageError, match=r"^must be a mapping of keys to values, not 3$"):
        read(Stage, 3)


def test_what_is_valid_keeps_its_value() -> None:
    found = read(Settings, {"moves": 4, "lr": 1, "stages": [{"steps": 2, "from": 1}]})
    assert (found.moves, found.lr, found.stages) == ((4,), 1.0, [Stage(2, teacher=1)])
    assert isinstance(found.lr, float)
    assert read(list[Stage], [{"steps": 2}], "stages") == [Stage(2)]


def test_unknown_fields_of_a_newer_file_are_left_out() -> None:
    data = {"newer": 1, "stages": [{"steps": 1, "newer": 2}]}
    assert read(Settings, data, extra="ignore") == Settings(stages=[Stage(1)])
    with pytest.raises(UsageError, match="steps=0: must be"):
        read(Settings, {"newer": 1, "stages": [{"steps": 0}]}, extra="ignore")


NAMES = [f.name for f in dataclasses.fields(Settings)] + ["steps", "from", "rate", "x"]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(NAMES) | st.integers(), PLAIN, max_size=3) | PLAIN)
def test_any_data_is_read_or_refused_in_one_printable_line(data: Any) -> None:
    found: Settings | None = None
    said = "a"
    try:
        found = read(Settings, data, "options")
    except UsageError as error:
        said = str(error)
    assert said.isprintable()
    if found is None:
        return
    again = json.loads(json.dumps(dataclasses.asdict(found)))
    for stage in [*again["stages"], *filter(None, [again["first"]])]:
        stage["from"] = stage.pop("teacher")
    assert read(Settings, again) == found


def test_what_nests_too_deeply_is_refused() -> None:
    data: Any = 1
    for _ in range(5000):
        data = [data]
    with pytest.raises(UsageError, match="is no plain data"):
        read(Settings, data, "options")
    data = 1
    for _ in range(300):
        data = [data]
    with pytest.raises(UsageError, match="options"):
        read(Settings, data, "options")


def test_half_a_character_is_refused() -> None:
    with pytest.raises(UsageError, match="options is no plain data"):
        read(Settings, {"title": "a\udcff"}, "options")


def test_a_bound_is_said_with_all_its_digits() -> None:
    @dataclass(frozen=True)
    class Seeded:
        seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0

    with pytest.raises(UsageError, match=r"from 0 to 4294967295$"):
        read(Seeded, {"seed": -1})
