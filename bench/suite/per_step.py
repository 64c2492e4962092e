"""All contestants of a suite, with their settings per number of steps (`at`) and `like`.

    hyper_sd:
      scheduler: ddim
      at:                            # steps -> what differs there
        2: {lora: hf://...2steps-lora.safetensors}
        1: {lora: hf://...1step-lora.safetensors, scheduler: tcd, eta: 1.0}
    mine: {lora: my.safetensors, like: hyper_sd}

It is drawn at those steps of the suite that `at` names. `like` copies the sampling of another
contestant of the suite at every number of steps; on the world's base it names a method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.errors import UsageError, nearest
from bench.suite import sampling
from bench.suite.contestant import (
    MAX_STEPS,
    SOURCES,
    ContestantSettings,
    StepCount,
    SuiteDefaults,
    Values,
    read,
)
from bench.suite.own_call import BY_NAME
from hypersd import validation
from hypersd.validation import OneOrMore

Described = Mapping[str, Mapping[str, Any] | None]  # contestants, as a suite describes them


@dataclass(frozen=True)
class GivenSteps:
    """The keys of a contestant that set its numbers of steps."""

    at: dict[str, dict[str, Any] | None] | None = None
    steps: OneOrMore[StepCount] | None = None


def read_all(
    contestants: Described, steps: tuple[int, ...], defaults: SuiteDefaults
) -> tuple[ContestantSettings, ...]:
    """Every contestant that a suite describes; one with `at` several times, by number of steps.

    steps: the suite's, for contestants that name none.  Raises UsageError.
    """
    found: list[ContestantSettings] = []
    for key in contestants:
        kinds = _by_steps(key, contestants, steps)
        if defaults.base is not None:
            kinds = [one for kind in kinds for one in _like(key, kind, contestants, steps)]
        found += [read(key, values, steps, defaults) for values in kinds]
    return tuple(found)


def _by_steps(key: str, contestants: Described, steps: tuple[int, ...]) -> list[Values]:
    """A contestant's values without `at`, one mapping for each kind that it comes in.

    Empty where `at` names none of the suite's steps.
    """
    where, values = f"contestants.{key}", dict(contestants[key] or {})
    given = validation.read(GivenSteps, values, where, extra="ignore")
    if given.at is None:
        return [values]
    for n in given.at:
        if not n.isascii() or not n.isdigit() or not 1 <= int(n) <= MAX_STEPS:
            raise UsageError(f"{where}.at.{n}: must be a number of steps from 1 to {MAX_STEPS}")
    every = {int(n): others or {} for n, others in given.at.items()}
    for absent in sorted(set(given.steps or ()) - set(every)):
        there = ", ".join(map(str, every))
        raise UsageError(f"{where}.steps={absent}: its `at` has settings at {there} only")
    rest = {name: value for name, value in values.items() if name not in ("at", "steps")}
    wanted = [n for n in given.steps or steps if n in every]
    return [_replaced(rest, every[n]) | {"steps": [n]} for n in wanted]


def _replaced(values: Values, others: Values) -> Values:
    """`others` over `values`; weights of another kind take the place of those before, but a LoRA
    stays on the pipeline before. Arguments of a pipeline's call are replaced one by one."""
    if any(name in others for name in SOURCES):
        kept = ("pipeline",) if "lora" in others else ()
        values = {name: v for name, v in values.items() if name not in SOURCES or name in kept}
    one_by_one = {
        name: {**values[name], **others[name]}
        for name in BY_NAME
        if isinstance(values.get(name), Mapping) and isinstance(others.get(name), Mapping)
    }
    return values | others | one_by_one


def _like(key: str, values: Values, contestants: Described, steps: tuple[int, ...]) -> list[Values]:
    """`values` with the sampling of the contestant that its `like` names, step by step; unchanged
    without `like`."""
    name = values.get("like")
    if name is None:
        return [values]
    where, others = f"contestants.{key}", [other for other in contestants if other != key]
    if name not in others:
        raise UsageError(f"{where}.like={name}: {nearest(str(name), others)}")
    given = validation.read(GivenSteps, values, where, extra="ignore")
    rest = {k: v for k, v in values.items() if k != "steps"}
    return [_sampled(f"{where}.like", name, n, contestants) | rest | {"steps": [n]}
            for n in given.steps or steps]  # fmt: skip


def _sampled(where: str, name: str, n: int, contestants: Described) -> Values:
    """How the contestant `name` is sampled at n steps."""
    kinds = _by_steps(name, contestants, (n,))
    if not kinds or "like" in kinds[0]:
        why = "has itself a `like`" if kinds else f"has no settings at {n} steps"
        raise UsageError(f"{where}={name}: {name} {why}")
    return {k: v for k, v in kinds[0].items() if k in (*sampling.KEYS, *BY_NAME)}
