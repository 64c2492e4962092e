"""Compares a contestant's sampling with its weights' card, since a wrong scheduler is a common
fault.

The card is training.json beside the weights (`drawn_with`); for published files the shipped suites
hold the settings of their cards. A difference need not be a mistake, so plan and ledger only name
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from bench.suite import compose, sampling
from bench.suite import suite as suites
from bench.suite.contestant import ContestantSettings
from bench.suite.sampling import KEYS
from bench.suite.suite import Suite
from hypersd.reference import SCHEME

PUBLISHED = (  # the settings of every file's own card
    "sdxl_1to8", "sdxl_unified", "sd15_1to8", "flux", "sd3", "open_licences",
)  # fmt: skip


def unlike_cards(suite: Suite) -> list[str]:
    """A line for each contestant whose settings differ from its card, with the differences, and for
    the base drawn as few-step weights are: by a `like` whose weights were perhaps forgotten."""
    lines = [line for one in suite.contestants for line in _lines(one)]
    bare = [_bare(one) for one in suite.contestants if _is_bare(one, suite)]
    return list(dict.fromkeys([*lines, *bare]))


def _is_bare(one: ContestantSettings, suite: Suite) -> bool:
    """Whether it has no weights, and those that it is drawn as have some."""
    if one.source != "base" or one.stack or one.drawn_as in ("", "teacher"):
        return False
    others = [other for other in suite.contestants if other.key == one.drawn_as != one.key]
    return not others or any(other.source != "base" or other.stack for other in others)


def _bare(one: ContestantSettings) -> str:
    drawn = f"{one.base} itself, drawn as {one.drawn_as} is"
    return (f"contestants.{one.key}, {_steps(one.steps)}: {drawn}: it names no weights (lora, "
            "unet, pipeline or recipe)")  # fmt: skip


def sources(suite: Suite) -> list[str]:
    """A line for each contestant whose settings' source the suite names: that source, and which of
    them were not read there."""
    steps: dict[tuple[str, str, str], list[int]] = {}
    for one in suite.contestants:
        if one.read_at or one.unverified:
            steps.setdefault((one.key, one.read_at, one.unverified), []).extend(one.steps)
    return [
        f"contestants.{key}, {_steps(steps[key, read_at, guessed])}: {read_at or 'no source'}"
        + (f"; not verified: {guessed}" if guessed else "")
        for key, read_at, guessed in steps
    ]


def _lines(one: ContestantSettings) -> Iterator[str]:
    if one.source not in ("lora", "unet", "pipeline") or not one.steps:
        return
    known = [(whose, _different(one, other)) for whose, other in _known(one)]
    if known and all(differences for _, differences in known):
        whose, differences = min(known, key=lambda pair: len(pair[1]))
        differs = [f"{key}={_word(key, mine)} ({whose}: {_word(key, theirs)})"
                   for key, (mine, theirs) in differences.items()]  # fmt: skip
        yield f"contestants.{one.key}, {_steps(one.steps)}: {', '.join(differs)}"


def _known(one: ContestantSettings) -> list[tuple[str, ContestantSettings]]:
    """(source, settings) of a contestant's weights. A card says its sampling alone."""
    if one.weights.startswith(SCHEME):
        same = [known for known in _published() if known.weights == one.weights]
        exact = [known for known in same if set(known.steps) & set(one.steps)]
        return [("published", known) for known in exact or same]
    carded = sampling.of_weights(one.weights)
    return [] if carded is None else [("its card", replace(one, sampling=carded))]


@cache
def _published() -> tuple[ContestantSettings, ...]:
    """The contestants of the suites on published files."""
    found = (suites.read(name, compose.compose(name, [])) for name in PUBLISHED)
    return tuple(one for suite in found for one in suite.contestants)


def _different(one: ContestantSettings, other: ContestantSettings) -> dict[str, tuple[Any, Any]]:
    """What differs, by the key that a suite has for it: both values, None for what is not given."""
    mine, theirs = _settings(one), _settings(other)
    both = {key: (mine.get(key), theirs.get(key)) for key in {**mine, **theirs}}
    return {key: (a, b) for key, (a, b) in both.items() if a != b}


def _settings(one: ContestantSettings) -> dict[str, Any]:
    """How weights are drawn."""
    own = {"call": one.own.arguments, "scheduler_config": one.own.scheduler_config}
    return {
        **{key: getattr(one.sampling, key) for key in KEYS},
        "lora_scale": one.lora_scale,
        **{f"{key}.{name}": value for key, given in own.items() for name, value in given.items()},
    }


def _word(key: str, value: object) -> str:
    if value is None:
        return f"the {'pipeline' if key.startswith('call.') else 'scheduler'}'s own"
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _steps(steps: Sequence[int]) -> str:
    return f"{','.join(map(str, steps))} step{'s' * (tuple(steps) != (1,))}"
