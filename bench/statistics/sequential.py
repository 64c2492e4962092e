"""Group-sequential tests: one hypothesis tested repeatedly as data come in, with one error level in
all.

A test at a share t of the data (information fraction, t_K = 1 at the last look) that rejects where
Z_k >= b_k. Under the boundary of the hypothesis Z_k t_k^(1/2) is a Brownian motion at t_k, so that

    P(first crossing at look k) = spent(t_k) - spent(t_(k-1))

gives b_1, b_2, ... one after another for any spending function and any looks, as long as their
times do not depend on what was seen (Lan and DeMets 1983). Means have independent increments;
an efficient estimate has them to first order (Jennison and Turnbull 2000, chapter 11), and a
Frechet distance by its influence function.

    obrien_fleming(t) = 2 - 2 Phi(z_(1 - alpha/2) / t^(1/2))     next to nothing at first
    pocock(t)         = alpha ln(1 + (e - 1) t)                  about alike at every look

(one-sided alpha). P is found by numerical integration of the density of what has not crossed
(Armitage, McPherson and Rowe 1969). `tests/statistics/test_sequential.py` holds boundaries against
published tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Spending = Callable[[float, float], float]  # (share of the data, alpha) -> alpha spent so far
POINTS = 1601  # of the grid of the density, between -REACH standard deviations and the boundary
REACH = 8.0
NEVER = 8.0  # a boundary that spends less than 1e-15


def obrien_fleming(t: float, alpha: float) -> float:
    """Lan and DeMets 1983, their alpha_1*, near the boundary of O'Brien and Fleming 1979."""
    from scipy.special import ndtr, ndtri

    return 0.0 if t <= 0 else float(2 * ndtr(ndtri(alpha / 2) / math.sqrt(min(t, 1.0))))


def pocock(t: float, alpha: float) -> float:
    """Lan and DeMets 1983, their alpha_2*, near the boundary of Pocock 1977."""
    return alpha * math.log(1 + (math.e - 1) * min(max(t, 0.0), 1.0))


@lru_cache(maxsize=256)
def boundaries(times: tuple[float, ...], alpha: float, spending: Spending) -> tuple[float, ...]:
    """b_1 ... b_K of a one-sided test of level alpha.

    times: shares of the data at the looks, ascending, the last one 1 for the whole level.  Raises
    ValueError for any other.
    """
    from scipy.optimize import brentq

    if not times or min(np.diff([0.0, *times])) <= 0 or times[-1] > 1 + 1e-12:
        raise ValueError(f"looks at {times}: they must ascend within (0, 1]")
    walk, found, before = _Walk(), list[float](), 0.0
    for t in times:
        spent = spending(t, alpha)
        wanted, before = spent - before, spent

        def missed(z: float, t: float = t, wanted: float = wanted) -> float:
            return walk.crossing(t, z) - wanted

        z = NEVER if missed(NEVER) >= 0 or wanted <= 0 else float(brentq(missed, -NEVER, NEVER))
        walk.go(t, z)
        found.append(z)
    return tuple(found)


def crossing_chances(
    times: Sequence[float], bounds: Sequence[float], drift: float = 0.0
) -> list[float]:
    """Chance of the first crossing at each look. drift: mean of Z at t = 1; 0: under the null."""
    walk, found = _Walk(drift), []
    for t, z in zip(times, bounds, strict=True):
        found.append(walk.crossing(t, z))
        walk.go(t, z)
    return found


class _Walk:
    """B(t) of a Brownian motion with drift that has not crossed so far: its density on a grid."""

    def __init__(self, drift: float = 0.0) -> None:
        self._drift, self._t = drift, 0.0
        self._at, self._mass = np.zeros(1), np.ones(1)

    def crossing(self, t: float, z: float) -> float:
        """The chance of reaching this look without crossing and of Z >= z at t."""
        from scipy.special import ndtr

        step = math.sqrt(t - self._t)
        far = (z * math.sqrt(t) - self._at - self._drift * (t - self._t)) / step
        return float(self._mass @ ndtr(-far))

    def go(self, t: float, z: float) -> None:
        """Go on to t, and drop the mass with Z >= z there."""
        step, top = math.sqrt(t - self._t), z * math.sqrt(t)
        low = self._drift * t - REACH * math.sqrt(t)
        at = np.linspace(min(low, top - 1e-9), top, POINTS)
        moved = (at[:, None] - self._at - self._drift * (t - self._t)) / step
        density = np.exp(-(moved**2) / 2) @ self._mass / (step * math.sqrt(2 * math.pi))
        self._at, self._mass, self._t = at, density * _simpson(at), t


def _simpson(at: Array) -> Array:
    """Weights of Simpson's rule on an odd number of evenly spaced points."""
    weights = np.full(len(at), 2.0)
    weights[1::2], weights[0], weights[-1] = 4.0, 1.0, 1.0
    return np.asarray(weights * (at[1] - at[0]) / 3, np.float64)
