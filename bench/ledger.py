"""The part of the ledger that metrics fill in: prompts that an evaluator reads only in part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.keys import Key
from bench.metrics.base import Metric

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


def _words(which: Sequence[int], of: int) -> str:
    share = 100 * len(which) / of
    named = ", ".join(map(str, which[:NAMED]))
    more = f" and {len(which) - NAMED:,} more" if len(which) > NAMED else ""
    return f"{len(which):,} of {of:,} prompts ({share:.1f} %): {named}{more}"
