"""The difference of two methods, over new training seeds and new prompts at once.

S trainings of a method (one per training seed), G prompts, y[s, g]: the score of training s on
prompt g, the same prompts for all (for a distance: its value plus the prompt's influence).

    y[s, g] = mean + A_s + B_g + e[s, g]           both A_s and B_g drawn at random

The mean over S and G varies by var(A)/S + var(B)/G + var(e)/(S G). The spread of the seeds' means
holds the first and the last part; that of the prompts' differences the second and the last once
more, which is taken off again by the residual:

    V_t = s^2(means of a)/S_a + s^2(means of b)/S_b, degrees of freedom f by Welch
    V_g = max(0, s^2(d_g)/G - s^2(e_a)/(S_a G) - s^2(e_b)/(S_b G)),  d_g: difference of the means
    interval: delta +- sqrt(t_f^2 V_t + t_(G-1)^2 V_g)

The variances are the two-way random-effects estimates (Searle, Casella and McCulloch 1992, chapter
4); the two reaches are added in squares (Howe 1974; Zou and Donner 2008), since one t with
Satterthwaite's degrees of freedom for the whole is too narrow where few trainings carry most of the
variance (92.4 % with three trainings against a fixed side). A side with one training is fixed
("this teacher"): its part of V_t is 0.

The result also has the hierarchical bootstrap (`hierarchical_bootstrap`), which draws trainings and
prompts anew with replacement. Of three trainings it is too narrow, since they resample to too
little spread (docs/statistics.md has its coverage), so verdicts rest on the interval above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.statistics.intervals import RESAMPLES, resampled_counts
from bench.statistics.result import Array

LEAST_LOG_P = -600.0  # below it p is 0


@dataclass(frozen=True)
class MethodDifference:
    """delta = mean of a's trainings - mean of b's, with its interval.

    low, high: 95 % interval over new trainings (of sides that have several) and new prompts.
    trainings, prompts: (variance, degrees of freedom) of either part.  seeds: trainings of a and b.
    one_training: variance of the mean of a single training of a and of b, 0 for a side with one.
    """

    delta: float
    low: float
    high: float
    trainings: tuple[float, float]
    prompts: tuple[float, float]
    seeds: tuple[int, int]
    one_training: tuple[float, float] = (0.0, 0.0)

    def p_above(self, bound: float) -> float:
        """One-sided p of "the true difference is `bound` or less"."""
        return self._tail(self.delta - bound)

    def p_below(self, bound: float) -> float:
        """One-sided p of "the true difference is `bound` or more"."""
        return self._tail(bound - self.delta)

    def _tail(self, distance: float) -> float:
        """The tail outside of an interval that reaches `distance`: 1/2 at 0."""
        from scipy.optimize import brentq

        if distance <= 0:
            return 1.0 - self._tail(-distance) if distance < 0 else 0.5

        def beyond(log_p: float) -> float:
            return reach(math.exp(log_p), self.trainings, self.prompts) - distance

        high, low = math.log(0.5), 2 * math.log(0.5)
        while beyond(low) <= 0:
            if low <= LEAST_LOG_P:
                return 0.0
            high, low = low, 2 * low
        if not math.isfinite(beyond(low)):  # so far out scipy's quantiles end
            return 0.0
        return math.exp(brentq(beyond, low, high, xtol=1e-15, maxiter=500))


def reach(tail: float, *parts: tuple[float, float]) -> float:
    """How far an interval with `tail` outside on either side goes: t quantiles added in squares."""
    from scipy.special import stdtrit

    # hypot, since the square of a quantile far out at one degree of freedom is no float any more
    return math.hypot(*(float(stdtrit(f, tail)) * math.sqrt(v) for v, f in parts if v > 0))


def method_difference(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> MethodDifference:
    """The difference of the methods behind a [S_a, G] and b [S_b, G], the same G prompts.

    Raises ValueError where the prompts' numbers differ or are fewer than two.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or x.shape[1] < 2:
        raise ValueError(f"need scores [S, G >= 2] of the same prompts, got {x.shape}, {y.shape}")
    count = x.shape[1]
    (v_a, residual_a), (v_b, residual_b) = _of_training(x), _of_training(y)
    difference = x.mean(axis=0) - y.mean(axis=0)
    v_g = max(0.0, float(difference.var(ddof=1)) / count - residual_a - residual_b)
    trainings = (v_a + v_b, welch((v_a, len(x) - 1), (v_b, len(y) - 1)))
    prompts = (v_g, float(count - 1))
    delta, far = float(difference.mean()), reach((1 - level) / 2, trainings, prompts)
    return MethodDifference(
        delta, delta - far, delta + far, trainings, prompts, (len(x), len(y)),
        (v_a * len(x), v_b * len(y)),
    )  # fmt: skip


def hierarchical_bootstrap(
    a: ArrayLike, b: ArrayLike, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of mean a - mean b: each time S_a of a's trainings, S_b of b's and G
    prompts, the same for both, are drawn with replacement.

    a: [S_a, G]; b: [S_b, G].  A side with one training is that one every time.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    counts = resampled_counts(x.shape[1], resamples, seed)
    rng = np.random.default_rng([seed, len(x), len(y)])
    sides = []
    for scores in (x, y):
        means = counts @ scores.T / x.shape[1]  # [resamples, S]
        drawn = rng.integers(0, len(scores), (resamples, len(scores)))
        sides.append(np.take_along_axis(means, drawn, axis=1).mean(axis=1))
    low, high = np.quantile(sides[0] - sides[1], [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def _of_training(y: Array) -> tuple[float, float]:
    """(variance of the mean from the trainings, the residual's share of it) of y [S, G]."""
    seeds, prompts = y.shape
    if seeds < 2:
        return 0.0, 0.0
    means = y.mean(axis=1)
    residual = y - means[:, None] - y.mean(axis=0) + y.mean()
    spread = float((residual**2).sum() / ((seeds - 1) * (prompts - 1)))
    return float(means.var(ddof=1)) / seeds, spread / (seeds * prompts)


def welch(*parts: tuple[float, float]) -> float:
    """Degrees of freedom of a sum of variances, each with its own."""
    kept = [(v, f) for v, f in parts if v > 0 and f > 0]
    return sum(v for v, _ in kept) ** 2 / sum(v**2 / f for v, f in kept) if kept else 1.0
