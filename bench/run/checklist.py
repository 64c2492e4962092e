"""What a plan on published checkpoints says before it starts, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.run import costs, evaluators
from bench.run.evaluators import Evaluator
from bench.run.needs import GB, Needs
from bench.run.plan import Plan

DAY = 86_400.0  # seconds
LONG = 2 * DAY


def lines(plan: Plan) -> Iterator[str]:
    """Downloads, licences, disk and memory; nothing for the world's suites."""
    if not plan.suite.published:
        return
    yield from _downloads(plan.needs)
    judges = evaluators.to_fetch(plan.suite) if plan.evaluators else []
    yield from _networks(judges)
    yield f"licences: {', '.join(_licences(plan.needs, judges)) or 'none are asked for'}"
    needs = plan.needs
    yield f"disk: {(needs.download + needs.networks + needs.images) / GB:.1f} GB"
    yield _memory(plan.needs)
    if plan.needs.device is not None and plan.needs.device.kind == "cpu":
        yield from _patience(plan.seconds)


def _downloads(needs: Needs) -> Iterator[str]:
    to_fetch, here = needs.to_fetch, len(needs.fetches) - len(needs.to_fetch)
    unknown = sum(one.size is None for one in to_fetch)
    more = f" and {unknown} of unknown size" if unknown else ""
    yield (
        f"to download from the hub: {len(to_fetch)} of {len(needs.fetches)}, about "
        f"{needs.download / GB:.1f} GB{more} ({here} here already)"
    )
    for one in needs.fetches:
        size = "?" if one.size is None else f"{one.size / GB:.2f} GB"
        yield f"  {one.reference}: {'here' if one.cached else size}, {one.licence}"


def _networks(judges: Sequence[Evaluator]) -> Iterator[str]:
    """What the metrics fetch."""
    if not judges:
        return
    unknown = sum(one.size is None for one in judges)
    more = f" and {unknown} of unknown size" if unknown else ""
    total = sum(one.size or 0 for one in judges) / GB
    yield f"to download for the metrics: {len(judges)} files, about {total:.1f} GB{more}"
    for one in judges:
        size = "?" if one.size is None else f"{one.size / GB:.2f} GB"
        yield f"  {one.source}: {size}, {one.licence} ({', '.join(one.metrics)})"


def _licences(needs: Needs, judges: Sequence[Evaluator]) -> list[str]:
    return sorted({one.licence for one in needs.fetches} | {one.licence for one in judges})


def _patience(seconds: float) -> Iterator[str]:
    """What to do instead of waiting for a CPU for days."""
    if seconds > LONG:
        yield (
            f"hint: about {seconds / DAY:,.0f} days on a CPU, an hour of a GPU for each "
            f"{costs.CPU / 24:.0f} of them; limit=4 steps=[1] is a try"
        )


def _memory(needs: Needs) -> str:
    """Of models and a batch, the metrics' networks not counted."""
    there = "no device"
    if needs.device is not None:
        name = "this machine" if needs.device.kind == "cpu" else needs.device.name
        there = f"{name} has {needs.device.memory / GB:.0f} GB"
    if needs.memory is None:
        return f"memory: not known; {there}"
    pictures = f"{needs.batch} pictures at once" if needs.batch > 1 else "one picture at once"
    return f"memory: about {needs.memory / GB:.0f} GB with {pictures}; {there}"
