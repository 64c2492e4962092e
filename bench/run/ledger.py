"""Counts for the ledger: prompts that an evaluator reads only in part, and images by contestant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.metrics.base import Metric
from bench.results.keys import Key

if TYPE_CHECKING:
    from bench.run.rows import Outcome

NAMED = 20  # prompts named one by one


def truncated(metrics: Iterable[Metric], keys: Sequence[Key]) -> dict[str, str]:
    """By metric: how many prompts its network cuts, of how many, and which.

    Metrics that read no prompt, cut none, or cannot say are left out. A network's own limit
    counts: 77 tokens of CLIP, 35 of ImageReward, 36 of the world's CLIP.
    """
    prompts = {key.index: key.prompt for key in keys}
    found = {}
    for metric in metrics:
        says = getattr(metric, "truncated", None)
        cut = None if says is None else says(list(prompts.values()))
        if cut and any(cut):
            which = [index for index, is_cut in zip(prompts, cut, strict=True) if is_cut]
            found[metric.name] = _words(which, len(prompts))
    return found


def images(keys: Sequence[Key], outcomes: Iterable[Outcome]) -> dict[str, dict[str, int]]:
    """By contestant, how many images: were asked for (`images`); lack a score, since a metric
    failed (`not_scored`); are in its folder, but of no prompt of the run (`dropped`); are `black`
    or `not_finite`; were drawn from prompts that the base cuts (`prompts_cut`); went into the run
    folder (`pictures`, so that a report can say how many files are missing).

    Of a row of shipped features the images that are drawn all the same count, no others.
    """
    wanted = set(keys)
    found = {}
    for outcome in outcomes:
        marked = {
            mark: {keys[i] for keys, record in outcome.records for i in record.get(mark, ())}
            & wanted
            for mark in ("broken", "black", "truncated")
        }
        found[outcome.planned.row.name] = {
            "images": len(keys),
            "not_scored": len(keys) if outcome.not_scored else 0,
            "dropped": _dropped(outcome, keys),
            "black": len(marked["black"] - marked["broken"]),
            "not_finite": len(marked["broken"]),
            "prompts_cut": len(marked["truncated"]),
            "pictures": outcome.pictures,
        }
    return found


def _dropped(outcome: Outcome, keys: Sequence[Key]) -> int:
    """Pictures of a folder that no prompt of the run asks for."""
    settings = outcome.planned.row.settings
    if settings.source != "images":
        return 0
    from bench.results.pictures import image_files

    asked = {key.index for key in keys}
    return sum(int(path.stem) not in asked for path in image_files(Path(settings.weights)))


def _words(which: Sequence[int], of: int) -> str:
    share = 100 * len(which) / of
    named = ", ".join(map(str, which[:NAMED]))
    more = f" and {len(which) - NAMED:,} more" if len(which) > NAMED else ""
    return f"{len(which):,} of {of:,} prompts ({share:.1f} %): {named}{more}"
