"""Compares counts of a run with its plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.run import processes
from bench.run.hardware import GB
from bench.run.plan import Plan
from bench.run.rows import Outcome

LEAST = 60.0  # seconds by which an estimate is wrong before it is worth a line, and a factor of two
ROUGHLY = 0.01  # of the bytes to download, some of which are published rounded


def nfe(outcome: Outcome) -> int | None:
    """Network evaluations per image, as its slices count them; of slices that are older than the
    count, as predicted. None for images that no sampler makes."""
    found, predicted = _counted(outcome), outcome.planned.nfe
    if predicted is None:
        return None
    return predicted.count if found is None else round(found)


def not_as_planned(
    plan: Plan, outcomes: Sequence[Outcome], seconds: Mapping[str, float]
) -> list[str]:
    """A line with both numbers for everything that came out otherwise: network evaluations per
    image, bytes downloaded, and seconds where the plan was far off."""
    return [*_evaluations(outcomes), *_bytes(plan), *_seconds(plan, sum(seconds.values()))]


def _counted(outcome: Outcome) -> float | None:
    """A mean over the images whose slices have the count."""
    known = [(len(keys), record["unet_forwards"]) for keys, record in outcome.records
             if "unet_forwards" in record]  # fmt: skip
    images = sum(count for count, _ in known)
    return sum(forwards for _, forwards in known) / images if images else None


def _evaluations(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        found, predicted = _counted(outcome), outcome.planned.nfe
        if found is not None and predicted is not None and found != predicted.count:
            about = "about " if predicted.is_estimate else ""
            yield (
                f"{outcome.planned.name}: {found:.4g} network evaluations per image were counted, "
                f"the plan said {about}{predicted.count}"
            )


def _bytes(plan: Plan) -> Iterator[str]:
    if plan.fetched is None:
        return
    planned, counted = plan.fetched
    if abs(counted - planned) > ROUGHLY * planned:
        yield f"{counted / GB:.3f} GB were downloaded, the plan said {planned / GB:.3f} GB"


def _seconds(plan: Plan, counted: float) -> Iterator[str]:
    planned = plan.seconds
    few, many = sorted((counted, planned))
    alone = processes.here().count == 1  # the time of others is not counted here
    if alone and many > 2 * few and many - few > LEAST:
        yield f"it took {counted:,.0f} seconds, the plan said about {planned:,.0f}"
