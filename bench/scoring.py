"""The rows of a run, scored: `diversity` on a suite's `repeats`, all else on the scored keys."""

from __future__ import annotations

from collections.abc import Sequence

from bench import contestants
from bench.comparisons import Entry, Scored, joined, score
from bench.judges import REPEATED
from bench.keys import Key
from bench.metrics.base import Metric
from bench.plan import Plan
from bench.rows import Outcome
from bench.store import Arrays
from bench.summary import Contestant


def scored(
    plan: Plan, outcome: Outcome, contestant: Contestant, judges: Sequence[Metric]
) -> Scored:
    """A row with all its metrics. Anchors, which nothing draws anew, have no diversity there."""
    planned = outcome.planned
    final = None if planned.training is None else planned.training / "final"
    weights = None if final is None else contestants.trained_weights(final)
    rewarded = contestants.is_rewarded(planned.row.settings, weights)

    def entry(features: Arrays, keys: Sequence[Key]) -> Entry:
        prompts, clusters = [key.prompt for key in keys], [key.index for key in keys]
        return Entry(contestant, features, prompts, clusters, rewarded)

    apart = [judge for judge in judges if judge.name == REPEATED and plan.suite.repeats]
    rest = [judge for judge in judges if judge not in apart]
    found = score(entry(outcome.features, plan.keys), rest)
    return joined(found, score(entry(outcome.repeated, plan.repeats), apart)) if apart else found
