"""Chooses the next pair: the contestants whose comparison is least certain, on the prompt asked
least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.study.strengths import Array, fit, information, prior


@dataclass(frozen=True)
class Item:
    """One question: pictures of contestants number a and b (a < b) for one prompt."""

    prompt: int
    a: int
    b: int


def uncertainty(wins: Array, pairs: NDArray[np.bool_]) -> Array:
    """Standard error of P(row is preferred to column) by the votes so far, [K, K]; 0 where a pair
    is not compared.

    wins: [K, K] as counted.  Delta method on the Bradley-Terry model, with the prior's votes.
    """
    counted = wins + prior(pairs)
    values = fit(counted)
    covariance = np.linalg.pinv(information(counted, values), hermitian=True)
    spread = np.diag(covariance)
    variance = spread[:, None] + spread[None, :] - 2 * covariance
    p = 1 / (1 + np.exp(values[None, :] - values[:, None]))
    errors = p * (1 - p) * np.sqrt(np.maximum(variance, 0))
    return np.asarray(np.where(pairs | pairs.T, errors, 0.0), np.float64)


def next_item(
    open_items: Sequence[Item],
    seen: Mapping[Item, int],
    wins: Array,
    pairs: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Item | None:
    """The question to ask: the least certain pair with open questions, on the prompt where it was
    asked least; ties are broken at random. None if nothing is open.

    open_items: questions that this rater has not been asked. seen: how often each question was
    asked.
    """
    if not open_items:
        return None
    errors = uncertainty(wins, pairs).round(6)
    order: list[Item] = [open_items[i] for i in rng.permutation(len(open_items))]
    return min(order, key=lambda item: (-float(errors[item.a, item.b]), seen.get(item, 0)))
