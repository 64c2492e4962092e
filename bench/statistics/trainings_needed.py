"""The number of trainings of either side that would decide a claim about methods.

S trainings of either side (of a side that is fixed none), the prompts as they are:

    V(S) = (s_a^2 + s_b^2) / S + V_g

with s^2 the variance of one training's mean and V_g the prompts' part, as measured. A test that
reaches r(S) finds a true distance with probability P(t > r(S) / V(S)^(1/2)), t noncentral with
Satterthwaite's degrees of freedom, those of the trainings being what Welch's will be on average: of
three trainings either side's variance is estimated as smaller or larger than it is, and fewer are
left (with the true ones the power of three trainings would come out at 78 %, which is 68 %). Of
three trainings s^2 is known to a factor of two or three, so a number says how far away a verdict
is, not more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.statistics.method_difference import MethodDifference, reach, welch
from bench.statistics.power import POWER

MOST = 1_000  # trainings; beyond it a number says nothing
MANY_FREEDOM = 1_000.0  # degrees of freedom from which on t is normal


def power(d: MethodDifference, trainings: int, distance: float, tail: float) -> float:
    """Chance that so many trainings of either side show a true `distance` (above 0).

    tail: of the one-sided test.
    """
    from scipy.special import nctdtr, ndtr

    a, b = (variance / trainings for variance in d.one_training)
    parts = ((a + b, _mean_welch(a, b, trainings - 1)), d.prompts)
    error = math.sqrt(sum(variance for variance, _ in parts))
    if error == 0:
        return 1.0
    needed, shift = reach(tail, *parts) / error, distance / error
    freedom = welch(*parts)
    if freedom > MANY_FREEDOM:
        return float(ndtr(shift - needed))
    return 1.0 - float(nctdtr(freedom, shift, needed))


def _mean_welch(a: float, b: float, freedom: int) -> float:
    """Welch's degrees of freedom of variances a and b, averaged over what is estimated for them."""
    if min(a, b) == 0:
        return float(freedom)
    from scipy.special import fdtri

    ratios = a / b * fdtri(freedom, freedom, (np.arange(100) + 0.5) / 100)
    return float(np.mean(freedom * (ratios + 1) ** 2 / (ratios**2 + 1)))


def trainings_needed(d: MethodDifference, distances: Sequence[float], tail: float) -> int | None:
    """The smallest number of trainings of either side with which one-sided tests of level `tail`
    all show their `distances` with 80 % probability; None where 1,000 would not."""
    if min(distances) <= 0:
        return None

    def suffices(trainings: int) -> bool:
        return sum(1 - power(d, trainings, one, tail) for one in distances) <= 1 - POWER

    if not suffices(MOST):
        return None
    low, high = 1, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
