"""What the training of a recipe takes from the hub: known to the plan, fetched with all the rest.

The training itself asks for it by the recipe's own words (`hypersd.hub`) and is given the files
that the suites' lock pins, so that base and contestants stand on the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.contestants import files
from bench.suite.contestant import ContestantSettings
from hypersd.reference import SCHEME, Reference, reference

WEIGHTS = "model.safetensors"  # of a model's folder; the few small files beside it do not count


def references(settings: ContestantSettings) -> list[tuple[Reference, str]]:
    """The base of a contestant's recipe, and the networks that its options name: each with the
    precision that decides on its files. Raises UsageError for a recipe that cannot be read."""
    from hypersd import recipe

    plan = recipe.load(settings.weights)
    base = files.remote(plan.base) if "/" in plan.base else None
    found = [] if base is None else [(base, "fp16" if plan.base_precision == "bf16" else "fp32")]
    for name in dict.fromkeys(_named(plan.options)):
        one = reference(name)
        if one is not None:
            found.append((one.file(one.path or WEIGHTS), "fp32"))
    return found


def _named(options: Any) -> Iterator[str]:
    """Every reference to the hub in a recipe's options."""
    if isinstance(options, str) and options.startswith(SCHEME):
        yield options
    elif isinstance(options, dict | list):
        for value in options.values() if isinstance(options, dict) else options:
            yield from _named(value)
