"""A contestant that is another one at another number of steps, and one that is `like` another.

    hyper_sd:
      scheduler: ddim
      at:                            # steps -> what differs there
        2: {lora: hf://...2steps-lora.safetensors}
        1: {lora: hf://...1step-lora.safetensors, scheduler: tcd, eta: 1.0}
    mine: {lora: my.safetensors, like: hyper_sd}

It is drawn at those steps of the suite that `at` names. `like` copies how another contestant of
the suite is sampled, at every number of steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.errors import UsageError
from bench.suite import fields

SAMPLING = ("scheduler", "spacing", "timesteps", "eta", "guidance", "prediction_type",
            "original_steps")  # fmt: skip
MAX_STEPS = 50
Values = dict[str, Any]


def plain(
    key: str, contestants: Mapping[str, Any], steps: tuple[int, ...], sources: tuple[str, ...]
) -> list[Values]:
    """Settings of one contestant without `at`, a mapping for each kind that it comes in.

    steps: the suite's.  sources: keys that say where images come from; `at` may replace them.
    Empty where `at` names none of the suite's steps.  Raises UsageError.
    """
    where = f"contestants.{key}"
    values = fields.mapping(where, {} if contestants[key] is None else contestants[key])
    if "at" not in values:
        return [values]
    every = _every(where, values.pop("at"))
    wanted = steps
    if "steps" in values:
        wanted = fields.integers(f"{where}.steps", values.pop("steps"), 1, MAX_STEPS)
        for absent in sorted(set(wanted) - set(every)):
            there = ", ".join(map(str, every))
            raise UsageError(f"{where}.steps={absent}: its `at` has settings at {there} only")
    return [_replaced(values, every[n], sources) | {"steps": [n]} for n in wanted if n in every]


def _every(where: str, at: Any) -> dict[int, Values]:
    found = fields.mapping(f"{where}.at", at)
    for key in found:
        if not key.isdigit() or not 1 <= int(key) <= MAX_STEPS:
            raise UsageError(f"{where}.at.{key}: must be a number of steps from 1 to {MAX_STEPS}")
    return {
        int(key): fields.mapping(f"{where}.at.{key}", {} if value is None else value)
        for key, value in found.items()
    }


def _replaced(values: Values, others: Values, sources: tuple[str, ...]) -> Values:
    """`others` over `values`; weights of another kind take the place of those before."""
    if any(name in others for name in sources):
        values = {name: value for name, value in values.items() if name not in sources}
    return values | others


def like(
    key: str,
    values: Values,
    contestants: Mapping[str, Any],
    steps: tuple[int, ...],
    sources: tuple[str, ...],
) -> list[Values]:
    """`values` with the sampling of the contestant that its `like` names, step by step; just
    `values` where it names none.

    Raises UsageError: no such contestant, it has no settings at some number of steps, or it is
    itself `like` another.
    """
    if values.get("like") is None:
        return [values]
    where, name = f"contestants.{key}.like", values["like"]
    rest = {k: v for k, v in values.items() if k != "like"}
    others = [other for other in contestants if other != key]
    fields.choice(where, name, others)
    own = rest.pop("steps", None)
    wanted = steps if own is None else fields.integers(where[:-4] + "steps", own, 1, MAX_STEPS)
    return [_sampled(where, name, n, contestants, sources) | rest | {"steps": [n]} for n in wanted]


def _sampled(
    where: str, name: str, n: int, contestants: Mapping[str, Any], sources: tuple[str, ...]
) -> Values:
    """How the contestant `name` is sampled at n steps."""
    kinds = plain(name, contestants, (n,), sources)
    if not kinds or "like" in kinds[0]:
        why = "is itself like another" if kinds else f"has no settings at {n} steps"
        raise UsageError(f"{where}={name}: {name} {why}")
    return {k: v for k, v in kinds[0].items() if k in SAMPLING}
