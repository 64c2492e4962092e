"""Intervals and tests over prompts: the unit that is drawn at random is the prompt.

G prompts, N images (N = G times the seeds), K columns of values handled at once, level 0.95.
Everything random is seeded, so a report made twice says the same.

Coverage of the 95 % intervals, measured by `tests/statistics/test_coverage.py -m slow` (4,000 runs
of G new prompts each, so +-0.7 points):

    mean, bootstrap, G = 1,000: normal scores 94.7 %, skewed (lognormal, sigma 1) 94.4 %
    mean, bootstrap, G =   100: normal scores 94.9 %, skewed 92.0 %
    share, Wilson,   G = 1,000: p = 0.5 94.1 %, 0.05 95.0 %, 0.995 96.6 %, 0.999 92.0 %
    share, bootstrap, the same: p = 0.5 94.6 %, 0.05 94.6 %, 0.995 95.9 %, 0.999 63.4 %
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

RESAMPLES = 2_000
FLIPS = 9_999
ROOM = 10  # the smallest p that flips can give, adjusted, is this far below LEVEL
LEVEL = 0.05
_ENOUGH = 100  # flips that reach a sum: its p is known to a tenth, and is no small one
_BLOCK = 250  # resamples or sign flips handled in one matrix product
_CACHED_PROMPTS = 5_000  # up to here a block of counts (5 MB at most) is kept for the next call


def quantile_of_normal(level: float = 0.95) -> float:
    """How many standard errors a two-sided normal interval reaches: 1.96 for 0.95."""
    return NormalDist().inv_cdf(0.5 + level / 2)


def by_prompt(values: ArrayLike, prompts: ArrayLike) -> tuple[NDArray[np.int64], Array]:
    """(prompt ids ascending [G], mean value of each prompt's images [G]) of N images.

    values, prompts: [N].  Raises ValueError where lengths differ or nothing is given.
    """
    scores, ids = np.asarray(values, np.float64), np.asarray(prompts, np.int64)
    if scores.shape != ids.shape or scores.ndim != 1 or not len(scores):
        raise ValueError(f"need one prompt id per value, got {scores.shape} and {ids.shape}")
    keys, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
    return keys, np.bincount(inverse, weights=scores) / counts


def bootstrap_interval(
    values: ArrayLike, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of one value per prompt ([G]).

    Prompts are drawn with replacement; the draws depend on (seed, G) alone, so two contestants on
    the same prompts are resampled alike.  Efron 1979.
    """
    scores = np.asarray(values, np.float64)
    centre = scores.mean()
    means = centre + np.concatenate(
        [
            _counts(seed, block, min(_BLOCK, resamples - block), len(scores)) @ (scores - centre)
            for block in range(0, resamples, _BLOCK)
        ]
    ) / len(scores)
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def bootstrap_ratio(
    values: ArrayLike, others: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of mean(values) / mean(others), one of each per prompt ([G]):
    a prompt is drawn with both. others: above 0 on average."""
    x, y = np.asarray(values, np.float64), np.asarray(others, np.float64)
    sums = np.concatenate(
        [
            _counts(seed, block, min(_BLOCK, RESAMPLES - block), len(x)) @ np.stack([x, y], axis=1)
            for block in range(0, RESAMPLES, _BLOCK)
        ]
    )
    ratios = sums[:, 0] / np.maximum(sums[:, 1], np.finfo(np.float64).tiny)
    low, high = np.quantile(ratios, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def resampled_counts(prompts: int, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """How often each prompt is in each bootstrap resample, [resamples, prompts]: those of
    `bootstrap_interval`."""
    blocks = range(0, resamples, _BLOCK)
    return np.concatenate(
        [_counts(seed, block, min(_BLOCK, resamples - block), prompts) for block in blocks]
    )


def _counts(seed: int, block: int, rows: int, prompts: int) -> Array:
    """How often each prompt is in each resample: [rows, G], every row sums to G."""
    if prompts <= _CACHED_PROMPTS:
        return _kept_counts(seed, block, rows, prompts)
    return _drawn_counts(seed, block, rows, prompts)


def _drawn_counts(seed: int, block: int, rows: int, prompts: int) -> Array:
    drawn = np.random.default_rng([seed, block]).integers(0, prompts, (rows, prompts))
    drawn += np.arange(rows)[:, None] * prompts
    counts = np.bincount(drawn.ravel(), minlength=rows * prompts)
    return counts.reshape(rows, prompts).astype(np.float64)


_kept_counts = lru_cache(maxsize=2 * RESAMPLES // _BLOCK)(_drawn_counts)


def wilson_interval(shares: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a mean of per-prompt shares in [0, 1] ([G]).

    With one image per prompt the shares are 0 or 1 and this is Wilson 1927 with n = G; with more,
    n is the number of independent images with the same variance of the mean (between G and
    infinity).  Used in place of the bootstrap, which says [1, 1] where all G are right and so fails
    near 0 and 1 (figures above).
    """
    values = np.asarray(shares, np.float64)
    p, prompts = float(values.mean()), len(values)
    spread = float(values.var()) / prompts
    n = max(prompts, p * (1 - p) / spread) if spread > 0 else prompts
    z = quantile_of_normal(level)
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p))


def influence_by_prompt(
    influence: ArrayLike, prompts: ArrayLike
) -> tuple[NDArray[np.int64], Array]:
    """(prompt ids ascending [G], influence of each prompt [G]) from that of each image ([N]).

    Scaled by G / N, so that the standard error of the prompts' mean is the statistic's, images of
    one prompt being free to depend on each other.
    """
    keys, inverse = np.unique(np.asarray(prompts, np.int64), return_inverse=True)
    sums = np.bincount(inverse, weights=np.asarray(influence, np.float64))
    return keys, np.asarray(sums * (len(keys) / len(inverse)), np.float64)


def median_interval(values: ArrayLike, *, level: float = 0.95) -> tuple[float, float] | None:
    """Interval of the median of independent values ([N]) from their order, whatever their
    distribution: the narrowest [k-th smallest, k-th largest] that covers it with `level` at least.
    None where not even the smallest and the largest do, as of fewer than 6 values at 0.95.

    P(k-th smallest > median) = P(Binomial(N, 1/2) < k).  David and Nagaraja 2003, section 7.1.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n, below, k = len(ordered), 0.0, 0
    for successes in range(n):
        below += math.comb(n, successes) / 2**n
        if 2 * below > 1 - level:
            break
        k += 1
    return None if k == 0 else (float(ordered[k - 1]), float(ordered[n - k]))


def standard_error(values: ArrayLike) -> float:
    """s / sqrt(G) of one value per prompt ([G]). Raises ValueError for fewer than two."""
    scores = np.asarray(values, np.float64)
    if len(scores) < 2:
        raise ValueError("a standard error needs at least two prompts")
    return float(scores.std(ddof=1) / math.sqrt(len(scores)))


def normal_p(value: float, error: float) -> float:
    """Two-sided p of `value` under a normal distribution of mean 0 and standard error `error`."""
    if error == 0.0:
        return 1.0 if value == 0.0 else 0.0
    return math.erfc(abs(value) / error / math.sqrt(2))


def flips_for(tests: int) -> int:
    """Flips after which the smallest p of a family of `tests`, by Holm's strictest step, is a tenth
    of 0.05: with 9,999 flips and 500 tests it would be 0.05, and nothing could be found."""
    return max(FLIPS, math.ceil(ROOM * tests / LEVEL))


def sign_flip_p(differences: ArrayLike, *, flips: int = FLIPS, seed: int = 0) -> Array:
    """Two-sided p of paired differences by permutation: under no effect every sign is a coin.

    differences: [G] or [G, K], one column per comparison on the same prompts.  Returns [] or [K].
    p = (1 + flips at least as far from 0) / (1 + flips); all 2^G sign patterns, and no 1 added,
    where they are no more than flips + 1.  Fisher 1935; Phipson and Smyth 2010 for the 1.  From
    9,999 flips on a column stops at its hundredth hit (Besag and Clifford 1991), so that a large
    number costs no more than the columns with a small p need.
    """
    values = np.asarray(differences, np.float64)
    columns = values.reshape(len(values), -1)
    reach = np.abs(columns.sum(axis=0)) * (1 - 1e-9)
    if len(columns) < 60 and 2 ** len(columns) <= flips + 1:
        patterns = np.arange(2 ** len(columns))[:, None] >> np.arange(len(columns)) & 1
        p = np.mean(np.abs((2.0 * patterns - 1) @ columns) >= reach, axis=0)
    else:
        p = _random_flips_p(columns, reach, flips, seed)
    return np.asarray(p, np.float64).reshape(values.shape[1:])


def _random_flips_p(columns: Array, reach: Array, flips: int, seed: int) -> Array:
    """[K] of columns [G, K] and the sums [K] that count as hits."""
    hits, made = np.zeros(len(reach)), np.zeros(len(reach))
    left = np.arange(len(reach))
    for signs in _sign_blocks(len(columns), flips, seed):
        hits[left] += (np.abs(signs @ columns[:, left]) >= reach[left]).sum(axis=0)
        made[left] += len(signs)
        if made.max() >= FLIPS:
            left = left[hits[left] < _ENOUGH]
    return np.asarray((1 + hits) / (1 + made), np.float64)


def _sign_blocks(prompts: int, flips: int, seed: int) -> Iterator[Array]:
    """Random signs in matrices of [<= 250, G], `flips` rows in all."""
    rng = np.random.default_rng([seed, prompts])
    for start in range(0, flips, _BLOCK):
        rows = min(_BLOCK, flips - start)
        raw = np.frombuffer(rng.bytes(rows * ((prompts + 7) // 8)), np.uint8)
        bits = np.unpackbits(raw.reshape(rows, -1), axis=1)[:, :prompts]
        yield np.where(bits, 1.0, -1.0)


def holm(p_values: ArrayLike) -> Array:
    """Adjusted p values of a family of tests: comparing them with 0.05 keeps the chance of any
    false finding below 0.05.

    The k-th smallest of m is multiplied by m - k + 1, made monotone, cut at 1.  Holm 1979.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
