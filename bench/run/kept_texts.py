"""The texts' side of a metric, kept in the cache: a network is not loaded for texts it has read.

An entry `texts/<key>` holds what one network says of up to 256 texts in their order, by the
network's identity, as features of images are kept by their extractor's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics.base import Metric
from bench.metrics.cosine import CosineScore
from bench.run.cache import Cache
from hypersd.hashes import digest

KIND = "texts"


def with_kept_texts(metric: Metric, cache: Cache) -> Metric:
    """The metric, whose embeddings of texts, and which texts its network cuts, are read from the
    cache where they are there. A metric that embeds no texts is returned as it is."""
    if not isinstance(metric, CosineScore):
        return metric
    found = replace(metric, encode=_kept(metric.encode, cache, metric.network, "embedded"))
    if metric.too_long is None:
        return found
    cut = _kept(metric.too_long, cache, metric.network, "cut")
    return replace(found, too_long=lambda texts: cut(texts).tolist())


def _kept(
    read: Callable[[list[str]], Any], cache: Cache, network: str, what: str
) -> Callable[[list[str]], NDArray[Any]]:
    """`read`, asked only for texts that the cache has no answer to."""

    def answer(texts: list[str]) -> NDArray[Any]:
        key = digest([network, what, texts])
        entry = cache.read(KIND, key)
        if entry is None:
            found = np.asarray(read(texts))
            cache.write(KIND, key, {what: found}, {"network": network})
            return found
        return entry.arrays[what]

    return answer
