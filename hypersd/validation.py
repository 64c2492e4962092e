"""Plain data (from YAML, JSON or a command line) -> a dataclass, or one line on what is wrong.

A model is a standard dataclass; a field's type says what is valid: `Literal`, the types below, or
`Annotated[int, Field(ge=1, le=50)]`.  Types are strict: a bool is no number, a text is no number,
but an int is a float.  Relations between fields are checked in `__post_init__`, by ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from hypersd.errors import UsageError, nearest

T = TypeVar("T")

LONGEST = 60  # characters of a value that a message shows
UNKNOWN = "unexpected_keyword_argument"  # pydantic's name for a key that a dataclass lacks
Schema = Mapping[str, Any]


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("must be a text")
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return value


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise ValueError("must hold at least one value")
    if any(value in values[:i] for i, value in enumerate(values)):
        raise ValueError("holds a value twice")
    return values


Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, AfterValidator(_filled)]
Line = Annotated[str, AfterValidator(_filled), AfterValidator(_printable)]
Distinct = Annotated[tuple[T, ...], AfterValidator(_distinct)]
"""A list of at least one value, none of them twice."""
OneOrMore = Annotated[
    tuple[T, ...],
    AfterValidator(_distinct),
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else (value,)),
]
"""As `Distinct`, of numbers or texts; one value stands for a list of it."""


def one_of(names: Iterable[str]) -> AfterValidator:
    """The mark of a text that must be one of the names: `Annotated[str, one_of(DISTANCES)]`."""

    def known(value: str) -> str:
        if value not in names:
            raise ValueError(nearest(value, names))
        return value

    return AfterValidator(known)


def read(
    kind: type[T],
    data: Any,
    key: str = "",
    *,
    where: str = "",
    extra: Literal["forbid", "ignore"] = "forbid",
) -> T:
    """The data as a dataclass, or as a list of them.

    key: the path of the data in what the user wrote, such as "options" or "stages[0]".
    where: the file or recipe that it is of.  extra: what becomes of unknown keys.
    Raises UsageError, one line on the first fault: `<where>: <key>.<field>=<value>: must be ...`.
    """
    lead, adapter = f"{where}: " if where else "", _adapter(cast(Any, kind))
    try:
        text = json.dumps(data, default=_plain)
        found: T = adapter.validate_json(text, strict=True, extra=extra)
        return found
    except ValidationError as error:
        faults = error.errors(include_url=False)
        if faults[0]["type"] == "json_invalid":  # half a surrogate pair, or nested too deeply
            raise UsageError(
                f"{lead}{key or 'it'} is no plain data: {faults[0]['ctx']['error']}"
            ) from None
        unknown = [fault for fault in faults if fault["type"] == UNKNOWN]
        raise UsageError(lead + _said((unknown or faults)[0], adapter, key)) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{lead}{key or 'it'} is no plain data: {shown(error)}") from None


def shown(value: Any) -> str:
    """A value for a message: one printable line of at most 60 characters."""
    value = "null" if value is None else [*value] if isinstance(value, tuple) else value
    words = " ".join(str(value).split())
    words = words if words.isprintable() else repr(words)[1:-1]
    return words if len(words) <= LONGEST else words[: LONGEST - 3] + "..."


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"it holds {shown(value)} ({type(value).__name__})")


def _said(fault: Any, adapter: TypeAdapter[Any], key: str) -> str:
    """One line for the first fault that pydantic found."""
    kind, value = fault["type"], shown(fault["input"])
    *outer, name = fault["loc"] or ("",)
    if kind == UNKNOWN:
        place, schema = _at(outer, adapter, key)
        among = f" in {place}" if place else ""
        return f"unknown key '{shown(name)}'{among}; {nearest(str(name), schema['properties'])}"
    place, schema = _at(fault["loc"], adapter, key)
    if kind == "missing":
        above = _at(outer, adapter, key)[0]
        return f"{above}: " * bool(above) + f"key {name!r} is missing; it must be {_words(schema)}"
    said = str(fault["ctx"]["error"]) if kind == "value_error" else f"must be {_words(schema)}"
    if kind == "literal_error":
        said = nearest(value, map(str, schema.get("enum") or [schema["const"]]))
    if "properties" in schema and kind == "value_error":  # of several fields together
        return f"{place}: " * bool(place) + said
    return f"{place}={value}: {said}" if place else f"{said}, not {value}"


def _at(loc: Iterable[str | int], adapter: TypeAdapter[Any], key: str) -> tuple[str, Schema]:
    """The path of a place for a message, and the JSON schema of what belongs there."""
    schema = adapter.json_schema()
    known, part, outer = schema.get("$defs", {}), None, key
    for part in loc:
        if "anyOf" in schema:  # a choice among types: the fault is of the whole value
            break
        outer, key = key, key + (f"[{part}]" if isinstance(part, int) else f".{shown(part)}")
        inner = schema.get("items") or schema.get("additionalProperties")
        schema = inner or schema["properties"].get(part, {})
        options = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
        schema = options[0] if len(options) == 1 else schema
        schema = known[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    scalar = schema.get("type") not in ("array", "object")
    if isinstance(part, int) and scalar:  # the value says which one it is
        key = outer
    return key.removeprefix("."), schema


def _words(schema: Schema) -> str:
    """The valid values, in words."""
    if "anyOf" in schema:
        return " or ".join(_words(option) for option in schema["anyOf"])
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    nouns = {
        "integer": "a whole number", "number": "a number", "boolean": "true or false",
        "string": "a text", "array": "a list", "null": "null",
    }  # fmt: skip
    return nouns.get(schema.get("type", ""), "a mapping of keys to values") + _span(schema)


def _span(schema: Schema) -> str:
    """The range of a number, in words."""
    if {"minimum", "maximum"} <= schema.keys():
        return f" from {_figure(schema['minimum'])} to {_figure(schema['maximum'])}"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    return " and".join(f" {sign} {_figure(schema[k])}" for k, sign in signs.items() if k in schema)


def _figure(bound: float) -> str:
    """A bound with all its digits: 1000000, 0.5."""
    return str(int(bound)) if bound == int(bound) else f"{bound:g}"
