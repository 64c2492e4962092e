"""Plain JSON -> typed dataclasses, with the place of whatever does not fit."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, Literal, TypeVar

from bench.errors import UsageError

T = TypeVar("T")


def decoded(kind: type[T], data: Any, where: str) -> T:
    """A dataclass from a dict of its fields, checked against its annotations.

    Fields it does not know are left out.  Raises UsageError, with `where` and the field's place,
    for a missing field or one of another type.
    """
    if not isinstance(data, dict):
        raise UsageError(f"{where}: expected an object, found {_brief(data)}")
    hints = typing.get_type_hints(kind)
    values = {}
    for spec in dataclasses.fields(kind):  # type: ignore[arg-type]
        required = spec.default is dataclasses.MISSING
        required = required and spec.default_factory is dataclasses.MISSING
        if spec.name in data:
            values[spec.name] = _checked(hints[spec.name], data[spec.name], f"{where}: {spec.name}")
        elif required:
            raise UsageError(f"{where}: {spec.name!r} is missing")
    return kind(**values)


def _checked(hint: Any, value: Any, where: str) -> Any:
    """`value` as `hint` says; an int is a float too, a bool is never a number."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is types.UnionType:
        rest = [a for a in arguments if a is not type(None)]
        return None if value is None else _checked(rest[0], value, where)
    if origin is Literal:
        return _expect(value in arguments, value, f"one of {', '.join(arguments)}", where)
    if origin is list:
        _expect(isinstance(value, list), value, "a list", where)
        return [_checked(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
    if origin is dict:
        _expect(isinstance(value, dict), value, "an object", where)
        return {k: _checked(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return decoded(typing.cast(type[Any], hint), value, where)
    fits = isinstance(value, (int, float) if hint is float else hint)
    fits = fits and (hint is bool or not isinstance(value, bool))
    return _expect(fits, value, f"a {hint.__name__}", where)


def _expect(fits: bool, value: Any, what: str, where: str) -> Any:
    if not fits:
        raise UsageError(f"{where}: expected {what}, found {_brief(value)}")
    return value


def _brief(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
