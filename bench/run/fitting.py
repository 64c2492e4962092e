"""A suite without what its prompts cannot have: anchors, and metrics that cannot read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.errors import UsageError
from bench.metrics import skills
from bench.suite.contestant import ANCHORS
from bench.suite.prompts import PromptSet
from bench.suite.suite import Suite
from hypersd.shapes.captions import parse


def fitting(suite: Suite, chosen: PromptSet) -> tuple[Suite, list[str]]:
    """The suite without contestants and metrics that its prompts cannot have, and a note for each.

    Raises UsageError where no contestant or no metric would be left.
    """
    if chosen.split is not None:
        return suite, []
    notes = []
    kept = tuple(c for c in suite.contestants if c.source not in ANCHORS or c.weights)
    for gone in (c.key for c in suite.contestants if c not in kept):
        notes.append(f"{gone} is left out: {chosen.name} has no real pictures")
    unread = _unread(suite, chosen.texts)
    notes += [f"{name} is left out: {why}" for name, why in unread.items()]
    metrics = tuple(name for name in suite.metrics if name not in unread)
    if not kept or (suite.metrics and not metrics):
        raise UsageError(f"prompts.set={chosen.name}: leaves no contestant or no metric to run")
    return replace(suite, contestants=kept, metrics=metrics), notes


def _unread(suite: Suite, texts: Sequence[str]) -> dict[str, str]:
    """Metrics that cannot read some prompt, or that no prompt asks for, with the reason."""
    found = {}
    foreign = next((text for text in texts if parse(text) is None), None)
    if "faithful" in suite.metrics and foreign is not None:
        found["faithful"] = f"{foreign[:60]!r} is not a caption of shapes"
    if any(name in skills.NAMES for name in suite.metrics):
        found |= _skills(suite, texts)
    return found


def _skills(suite: Suite, texts: Sequence[str]) -> dict[str, str]:
    asks = skills.asked_of_prompt if suite.published else skills.asked_of_caption
    form = "of the form that docs/metrics.md shows" if suite.published else "a caption of shapes"
    asked = [asks(text) for text in texts]
    foreign = next((text for text, of in zip(texts, asked, strict=True) if not of), None)
    named = [name for name in suite.metrics if name in skills.NAMES]
    if foreign is not None:
        return dict.fromkeys(named, f"{foreign[:60]!r} is not {form}")
    there = set().union(*asked) | {"prompt", "atoms"}
    return {name: "no prompt asks for it" for name in named if skills.NAMES[name] not in there}
