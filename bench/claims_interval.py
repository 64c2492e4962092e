"""The difference of two methods, over new training seeds and new prompts at once.

S trainings of a method (one per training seed), G prompts, y[s, g]: the score of training s on
prompt g, the same prompts for all (for a distance: its value plus the prompt's influence).

    y[s, g] = mean + A_s + B_g + e[s, g]           both A_s and B_g drawn at random

The mean over S and G varies by var(A)/S + var(B)/G + var(e)/(S G). The spread of the seeds' means
holds the first and the last part; that of the prompts' differences the second and the last once
more, which is taken off again by the residual:

    V_a = s^2(mean of each training)/S   with S - 1 degrees of freedom, likewise V_b
    V_g = max(0, s^2(d_g)/G - s^2(e_a)/(S_a G) - s^2(e_b)/(S_b G)),  d_g: difference of the means
    interval: delta +- t sqrt(V_a + V_b + V_g),  degrees of freedom by Satterthwaite (1946)

These are the two-way random-effects estimates of variance (Searle, Casella and McCulloch 1992,
chapter 4). A bootstrap over trainings is not used: three of them resample to too little spread.
A side with one training is taken as it stands ("this teacher"): its V is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.base import Array


@dataclass(frozen=True)
class MethodDifference:
    """delta = mean of a's trainings - mean of b's, with a t interval.

    low, high: 95 % interval over new trainings (of sides that have several) and new prompts.
    error, freedom: its standard error and degrees of freedom.  seeds: trainings of a and of b.
    """

    delta: float
    low: float
    high: float
    error: float
    freedom: float
    seeds: tuple[int, int]

    def p_above(self, bound: float) -> float:
        """One-sided p of "the true difference is `bound` or less"."""
        if self.error == 0.0:
            return 0.0 if self.delta > bound else 1.0
        from scipy.special import stdtr

        return float(stdtr(self.freedom, (bound - self.delta) / self.error))

    def p_below(self, bound: float) -> float:
        """One-sided p of "the true difference is `bound` or more"."""
        if self.error == 0.0:
            return 0.0 if self.delta < bound else 1.0
        from scipy.special import stdtr

        return float(stdtr(self.freedom, (self.delta - bound) / self.error))


def method_difference(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> MethodDifference:
    """The difference of the methods behind a [S_a, G] and b [S_b, G], the same G prompts.

    Raises ValueError where the prompts' numbers differ or are fewer than two.
    """
    from scipy.special import stdtrit

    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or x.shape[1] < 2:
        raise ValueError(f"need scores [S, G >= 2] of the same prompts, got {x.shape}, {y.shape}")
    prompts = x.shape[1]
    (v_a, residual_a), (v_b, residual_b) = _of_training(x), _of_training(y)
    difference = x.mean(axis=0) - y.mean(axis=0)
    v_g = max(0.0, float(difference.var(ddof=1)) / prompts - residual_a - residual_b)
    delta, variance = float(difference.mean()), v_a + v_b + v_g
    freedom = _satterthwaite([(v_a, len(x) - 1), (v_b, len(y) - 1), (v_g, prompts - 1)])
    reach = float(stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(variance)
    return MethodDifference(
        delta, delta - reach, delta + reach, math.sqrt(variance), freedom, (len(x), len(y))
    )


def _of_training(y: Array) -> tuple[float, float]:
    """(variance of the mean from the trainings, the residual's share of it) of y [S, G]."""
    seeds, prompts = y.shape
    if seeds < 2:
        return 0.0, 0.0
    means = y.mean(axis=1)
    residual = y - means[:, None] - y.mean(axis=0) + y.mean()
    spread = float((residual**2).sum() / ((seeds - 1) * (prompts - 1)))
    return float(means.var(ddof=1)) / seeds, spread / (seeds * prompts)


def _satterthwaite(parts: list[tuple[float, int]]) -> float:
    """Degrees of freedom of a sum of variances, each with its own."""
    kept = [(v, f) for v, f in parts if v > 0 and f > 0]
    if not kept:
        return 1.0
    total = sum(v for v, _ in kept)
    return total**2 / sum(v**2 / f for v, f in kept)
