"""`faithful`: share of pictures in which everything the prompt asks for is there and nothing else.

An attribute oracle reads each picture: objects with shape, colour and size, their relation and
their number. GenEval's idea (Ghosh et al. 2023). No trainer uses the oracle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bench.errors import UsageError
from bench.metrics.base import Features
from bench.metrics.networks.base import Network
from bench.statistics.intervals import by_prompt
from bench.statistics.result import Array, Result, share_result

COLUMNS = ("right", "shape", "colour", "size", "relation", "count")


@dataclass(frozen=True)
class Faithful:
    """Judgements in, share in [0, 1] out.  network: the oracle's identity."""

    network: str
    extractor: str = "shapes_oracle"

    name: ClassVar[str] = "faithful"
    higher_is_better: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        return f"{self.name}/1;share of whole pictures right;{self.network}"

    def trained_on(self, method: str) -> str:
        """The oracle is in no training."""
        return "no"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: [N, 6], columns `COLUMNS`, 1 right, 0 wrong, nan not asked for.

        `parts` has the share per attribute among the prompts that ask for it.
        Raises UsageError where a prompt is not of the world's grammar.
        """
        judged = np.asarray(features, np.float64)
        unread = np.flatnonzero(np.isnan(judged[:, 0]))
        if len(unread):
            raise UsageError(
                f"metric 'faithful': prompt {clusters[unread[0]]} {prompts[unread[0]]!r} is not a "
                "caption of the shapes world; leave 'faithful' out of metrics"
            )
        whole = share_result(judged[:, 0], clusters)
        return Result(**{**vars(whole), "parts": _parts(judged, np.asarray(clusters))})


def share(name: str, network: Network, settings: Mapping[str, str]) -> Faithful:
    """`faithful`, judged by an oracle."""
    del name, settings
    return Faithful(network.identity, network.name)


def _parts(judged: Array, clusters: Any) -> dict[str, float]:
    """Share right per attribute, over the prompts that ask for it."""
    parts = {}
    for column, part in enumerate(COLUMNS[1:], start=1):
        asked = ~np.isnan(judged[:, column])
        if asked.any():
            parts[part] = float(by_prompt(judged[asked, column], clusters[asked])[1].mean())
    return parts
