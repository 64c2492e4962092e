"""`decide=true`: tests a metric after every block of prompts, until it is decided.

    regress   a loss is shown by the group-sequential test of "no loss" (O'Brien and Fleming's
              spending, level 5 % divided by the contestant's metrics), and it is above the margin
    pass      a loss as large as the margin is ruled out by the group-sequential test of it
              (Pocock's spending, 5 %; intersection-union, as in `verdicts`), or the pictures are
              the same but for rounding

So a contestant that is no worse is called worse with 5 % at most over all its metrics and looks,
and a loss of the margin or more passes with 5 % at most. Pocock's spending lets a pass come early,
which is what most checks end with; O'Brien and Fleming's keeps the last look's power to find a loss
and needs a large one before. `benchmarks/decide_errors.py` measures all of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.check.measured import Measured
from bench.check.verdicts import ALPHA, Verdict, passed_words, undecided
from bench.errors import UsageError
from bench.results import keys
from bench.statistics.differences import Difference
from bench.statistics.sequential import boundaries, crossing_chances, obrien_fleming, pocock

LOOKS = 5
FOUND = 0.95  # chance with which a loss of twice the margin should be found


@dataclass(frozen=True)
class Looks:
    """prompts: how many at each look, ascending; all that are drawn at most at the last."""

    prompts: tuple[int, ...]

    @property
    def times(self) -> tuple[float, ...]:
        """Shares of the data."""
        return tuple(n / self.prompts[-1] for n in self.prompts)

    def regress_bounds(self, tests: int) -> tuple[float, ...]:
        """Z of "no loss" at each look. tests: metrics of the contestant."""
        return boundaries(self.times, ALPHA / max(1, tests), obrien_fleming)

    def pass_bounds(self) -> tuple[float, ...]:
        """Z of "a loss of the margin" at each look."""
        return boundaries(self.times, ALPHA, pocock)


def planned(most: int) -> Looks:
    """Five looks after blocks of whole slices, so that no picture is drawn twice; fewer where
    there are not so many. Raises UsageError below two prompts."""
    if most < 2:
        raise UsageError(f"most={most}: must be 2 or more prompts")
    slices = -(-most // keys.SLICE)
    block = keys.SLICE * -(-slices // LOOKS)
    return Looks((*range(block, most, block), most))


def look_at(row: Measured, number: int, looks: Looks, tests: int) -> Verdict:
    """The verdict on a row at a look (from 0 on); inconclusive where the next one is needed.

    tests: metrics of its contestant.
    """
    d, margin = row.difference, row.margin
    made = Verdict(row.contestant, row.metric, "inconclusive", "", row.before.value,
                   row.after.value, row.after.value - row.before.value, margin=margin,
                   losses=row.losses() if row.refusal is None else {})  # fmt: skip
    if row.same:
        return replace(made, outcome="pass", why="the same pictures, but for rounding")
    if not isinstance(d, Difference):  # only these weights are looked at again
        return replace(made, outcome="skipped", why=f"cannot be tested: {row.refusal}")
    loss = -d.delta if row.higher else d.delta
    p = d.p_below(0.0) if row.higher else d.p_above(0.0)
    p_pass = d.p_above(-margin) if row.higher else d.p_below(margin)
    level, pass_level = (
        tail(bounds[number]) for bounds in (looks.regress_bounds(tests), looks.pass_bounds())
    )
    made = replace(made, delta=d.delta, low=d.low, high=d.high, loss=loss, p=p,
                   p_adjusted=adjusted(p, level), p_pass=p_pass, prompts=d.prompts)  # fmt: skip
    after = f"after {d.prompts:,} of at most {looks.prompts[-1]:,} prompts"
    if loss > margin and p < level:
        why = f"worse by {loss:.3g}, significant and above the margin of {margin:.3g}, {after}"
        return replace(made, outcome="regress", why=why)
    if loss < margin and p_pass < pass_level:
        return replace(
            made, outcome="pass", why=f"{passed_words(loss, margin, p < level)}, {after}"
        )
    return undecided(made, d, tests)


def tail(z: float) -> float:
    """Phi(-z)."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def adjusted(p: float, level: float) -> float:
    """p on the scale on which a look's level is 5 %."""
    return min(1.0, p * ALPHA / level) if level > 0 else 1.0


def power(row: Measured, looks: Looks, tests: int) -> float | None:
    """Chance that a loss of twice the margin is called a regression by the last look, by the error
    so far; None where there is none."""
    d = row.difference
    if not isinstance(d, Difference) or d.error <= 0 or row.margin <= 0:
        return None
    error = d.error * math.sqrt(d.prompts / looks.prompts[-1])
    bounds = looks.regress_bounds(tests)
    shown = sum(crossing_chances(looks.times, bounds, 2 * row.margin / error))
    return min(shown, tail(-row.margin / error))  # and it must come out above the margin


def too_weak(rows: Sequence[Measured], looks: Looks, tests: int) -> list[str]:
    """A sentence for each metric on which the last look may miss a loss of twice the margin."""
    found = []
    for row in rows:
        chance = power(row, looks, tests)
        if chance is not None and chance < FOUND:
            found.append(
                f"{row.contestant} {row.metric}: of losses of twice the margin, "
                f"{looks.prompts[-1]:,} prompts find about {100 * chance:.0f} %"
            )
    return found
