"""The smallest difference that a comparison could have found, and the prompts that a claim would
need.

Everything follows from the standard error that was measured: with G prompts it is s / sqrt(G), for
means of scores and, to first order, for Frechet distances.

    detectable difference = (z_(1 - alpha/2) + z_power) * error

is the true difference that a two-sided test of level alpha finds with probability `power` (the
normal approximation; Cohen 1988, chapter 2).
"""

from __future__ import annotations

import math
from statistics import NormalDist

POWER = 0.8
ALPHA = 0.05
MOST = 1_000_000_000  # prompts; beyond it a number says nothing


def detectable(error: float, *, tests: int = 1, sides: int = 2) -> float:
    """The true difference found with 80 % probability. error: standard error of the difference.

    tests: of how many tests this is the strictest of Holm's, whose level is 0.05 / tests.
    sides: of the test, 1 or 2.
    """
    z = NormalDist()
    return (z.inv_cdf(1 - ALPHA / (sides * max(1, tests))) + z.inv_cdf(POWER)) * error


def prompts_for(
    error: float, prompts: float, difference: float, *, tests: int = 1, sides: int = 2
) -> int | None:
    """Prompts at which `difference` would be the detectable one.

    error: standard error measured with `prompts` prompts.  None where no number would do.
    """
    if not difference > 0:
        return None
    return _whole(prompts * (detectable(error, tests=tests, sides=sides) / difference) ** 2)


def prompts_to_rule_out(error: float, prompts: int, distance: float) -> int | None:
    """Prompts at which a one-sided test of level 0.05 rules out a loss, with 80 % probability.

    distance: from the true difference to that loss.  None where no number would do.
    """
    return prompts_for(error, prompts, distance, sides=1)


def _whole(prompts: float) -> int | None:
    return max(2, math.ceil(prompts * (1 - 1e-12))) if prompts < MOST else None
