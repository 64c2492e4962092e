"""A claim about methods with its figures -> tests of it, of its opposite and of no difference.

`gain` is a's advantage over b, m the margin.

    relation      the claim            its opposite                    within the margin
    better        gain > 0, two-sided  gain < 0, two-sided             -m < gain < m (TOST)
    not_worse     gain > -m            gain < -m                       -
    equivalent    -m < gain < m        |gain| > m, the nearer bound    -
                                       twice
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.results.summary import LEAST_SEEDS, Claim, Verdict
from bench.statistics.method_difference import MethodDifference
from bench.statistics.power import prompts_for
from bench.statistics.trainings_needed import trainings_needed

ALPHA = 0.05
MANY = 30  # trainings; where more would be needed, equivalence is the question


@dataclass(frozen=True)
class Tested:
    """A claim with its figures, not yet decided; difference: None where it cannot be tested."""

    claim: Claim
    difference: MethodDifference | None = None
    margin: float = 0.0
    higher: bool = True

    def p_values(self) -> dict[str, float]:
        """p of the "claim", of its "opposite", and of "equivalent" if that is a different test."""
        m, relation = self.margin, self.claim.relation
        within = max(self._above(-m), self._below(m))
        if relation == "better":
            return {
                "claim": min(1.0, 2 * self._above(0.0)),
                "opposite": min(1.0, 2 * self._below(0.0)),
                "equivalent": within,
            }
        if relation == "not_worse":
            return {"claim": self._above(-m), "opposite": self._below(-m)}
        outside = min(self._above(m), self._below(-m))
        return {"claim": within, "opposite": min(1.0, 2 * outside)}

    def _above(self, bound: float) -> float:
        """One-sided p of "the gain is `bound` or less"."""
        assert self.difference is not None
        d = self.difference
        return d.p_above(bound) if self.higher else d.p_below(-bound)

    def _below(self, bound: float) -> float:
        """One-sided p of "the gain is `bound` or more"."""
        assert self.difference is not None
        d = self.difference
        return d.p_below(bound) if self.higher else d.p_above(-bound)

    @property
    def gain(self) -> float:
        """a's advantage, as measured."""
        assert self.difference is not None
        return self.difference.delta if self.higher else -self.difference.delta

    @property
    def room(self) -> tuple[float, int]:
        """(distance of the gain from the bound that the claim or its opposite is nearest to being
        shown beyond, sides of its test)."""
        m, relation = self.margin, self.claim.relation
        if relation == "better":
            return abs(self.gain), 2
        if relation == "not_worse":
            return abs(self.gain + m), 1
        return abs(m - abs(self.gain)), 1

    def needed(self, tests: int) -> int | None:
        """Trainings of either side that would decide it, as one of so many tests."""
        assert self.difference is not None
        relation, m, tail = self.claim.relation, self.margin, ALPHA / tests
        if relation == "better":
            return trainings_needed(self.difference, [abs(self.gain)], tail / 2)
        if relation == "not_worse":
            return trainings_needed(self.difference, [abs(self.gain + m)], tail)
        if abs(self.gain) > m:
            return trainings_needed(self.difference, [abs(self.gain) - m], tail / 2)
        return self.needed_for_equivalence(tests)

    def needed_for_equivalence(self, tests: int) -> int | None:
        """Trainings of either side that would show the difference to be within the margin."""
        assert self.difference is not None
        bounds = [self.margin - self.gain, self.margin + self.gain]
        return trainings_needed(self.difference, bounds, ALPHA / tests)


def verdict(adjusted: Mapping[str, float]) -> Verdict:
    """The verdict of p values, each adjusted over the claims of a suite."""
    if adjusted["claim"] < ALPHA:
        return "holds"
    if adjusted["opposite"] < ALPHA:
        return "the opposite is shown"
    return "equivalent" if adjusted.get("equivalent", 1.0) < ALPHA else "not shown"


def too_few(count: int) -> str:
    """Why so few trainings decide nothing."""
    named = "one training" if count == 1 else f"{count} trainings"
    return f"{named}; a claim about a method needs at least {LEAST_SEEDS} of either side"


def why(tested: Tested, adjusted: Mapping[str, float], found: Verdict, tests: int) -> str:
    """The figures behind a verdict in words."""
    d = tested.difference
    assert d is not None
    seeds = " and ".join(str(n) for n in d.seeds)
    over = "the prompts, of these weights"
    if tested.claim.about == "methods":
        over = f"{seeds} trainings and the prompts"
    against = "" if tested.claim.relation == "better" else f", margin {tested.margin:.3g}"
    shown = {"the opposite is shown": "opposite", "equivalent": "equivalent"}.get(found, "claim")
    if found == "equivalent":
        against = f", margin {tested.margin:.3g}"
    is_small = found != "equivalent" and adjusted.get("equivalent", 1.0) < ALPHA
    small = f", and less than {tested.margin:.3g}, the smallest that matters" if is_small else ""
    return (
        f"difference {d.delta:.3g} [{d.low:.3g}, {d.high:.3g}]{against}, adjusted p "
        f"{adjusted[shown]:.2g} of {tests}, over {over}{small}"
    )


def prompts_words(tested: Tested, tests: int) -> str:
    """How many prompts would decide an open claim about weights, were the true difference the
    measured one."""
    d = tested.difference
    assert d is not None
    distance, sides = tested.room
    error, freedom = d.prompts[0] ** 0.5, d.prompts[1]
    needed = prompts_for(error, freedom + 1, distance, tests=tests, sides=sides)
    if needed is None:
        return "no number of prompts would decide it, were the difference as measured"
    return f"about {needed:,} prompts would decide it, were the difference as measured"


def needed_words(tested: Tested, alone: int | None, adjusted: int | None, tests: int) -> str:
    """How many trainings would decide a claim that is open."""
    if alone is None:
        text = "no number of trainings would decide it at these prompts"
    else:
        text = f"about {alone} trainings of either side would decide it alone"
        if tests > 1:
            text += f", {adjusted or 'more than 1,000'} as one of {tests} claims"
    if (alone is None or alone > MANY) and tested.claim.relation == "better":
        fewer = tested.needed_for_equivalence(1)
        text += f": test equivalence within {tested.margin:.3g} instead"
        if fewer is not None:
            text += f", which would take about {fewer}"
    return text
