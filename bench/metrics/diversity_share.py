"""`diversity_share`, `vendi_share`, `lpips_share`: the share of the teacher's spread between seeds
that is left.

    share = 100 * mean over prompts of d(student's pictures) / mean over prompts of d(teacher's)

over the same prompts, the same number of seeds, the same network. d of one prompt's S pictures is

    diversity_share   the mean 1 - cos over their pairs, as of `diversity`
    vendi_share       V - 1, V = exp(-sum_i l_i log l_i) with l the eigenvalues of K / S, K_ij the
                      cosine of two pictures: Vendi's score (Friedman and Dieng 2023, arXiv
                      2210.02410), the effective number of different pictures; 1 where all are alike
    lpips_share       the mean LPIPS over their pairs (Zhang et al. 2018, arXiv 1801.03924), which
                      is a squared distance: 2 / (S - 1) times (sum |x|^2 - |sum x|^2 / S)

100: as much as the teacher. More is not better: noise, artefacts and missed prompts spread, too.

G prompts, drawn at random: the interval is a bootstrap over prompts of the ratio, student and
teacher being drawn together. What a prompt adds to the ratio's deviation, which comparisons use, is
100 * (d_g - R t_g) / mean t with R the ratio (the delta method).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from bench.errors import UsageError
from bench.metrics.base import Features, HeldOut
from bench.metrics.diversity import of_pairs, unit
from bench.metrics.networks.base import Network
from bench.statistics.intervals import bootstrap_ratio
from bench.statistics.result import Array, Ids, Result

Spread = Callable[[Features, Sequence[int]], tuple[Ids, Array]]
LEAST = 4  # seeds of a prompt: two or three hardly determine a spread


def of_vendi(features: Features, clusters: Sequence[int]) -> tuple[Ids, Array]:
    """(prompt ids ascending [G], Vendi's score of each prompt's pictures minus 1 [G])."""
    ids, inverse = np.unique(clusters, return_inverse=True)
    x = unit(features)
    return ids, np.array([vendi(x[inverse == place]) - 1 for place in range(len(ids))])


def vendi(x: Array) -> float:
    """The effective number of different rows, from 1 to S. x: [S, D], unit length."""
    found = np.linalg.eigvalsh(x @ x.T / len(x))
    kept = found[found > 0]
    return float(np.exp(-(kept * np.log(kept)).sum()))


def of_squares(features: Features, clusters: Sequence[int]) -> tuple[Ids, Array]:
    """(prompt ids ascending [G], mean squared distance over the pairs of each prompt [G])."""
    ids, inverse, counts = np.unique(clusters, return_inverse=True, return_counts=True)
    x = np.asarray(features, np.float64)
    sums, squares = np.zeros((len(ids), x.shape[1])), np.zeros(len(ids))
    np.add.at(sums, inverse, x)
    np.add.at(squares, inverse, (x**2).sum(axis=1))
    return ids, 2 * (squares - (sums**2).sum(axis=1) / counts) / (counts - 1)


SPREADS: dict[str, tuple[Spread, str]] = {
    "diversity_share": (of_pairs, "mean 1-cos over pairs of seeds"),
    "vendi_share": (of_vendi, "Vendi score minus 1, cosine kernel, q=1"),
    "lpips_share": (of_squares, "mean LPIPS over pairs of seeds"),
}


@dataclass(frozen=True)
class ShareOfTeacher(HeldOut):
    """network: the extractor's identity. against: the teacher's. over: the images it is computed
    on, if not all of them. teacher: ids and spreads of the teacher's prompts, from `beside`."""

    name: str
    network: str
    extractor: str
    against: str = ""
    over: str = ""
    teacher: tuple[Ids, Array] | None = field(default=None, compare=False, repr=False)

    higher_is_better: ClassVar[bool] = True

    @property
    def identity(self) -> str:
        over = f"over {self.over};" if self.over else ""
        what = f"100*ratio of means to the teacher's;{SPREADS[self.name][1]}"
        return f"{self.name}/1;{what};{over}{self.network};teacher={self.against}"

    def beside(self, features: Features, clusters: Sequence[int]) -> ShareOfTeacher:
        """The metric that knows the teacher's pictures: features [N, D], N prompt ids.

        Raises UsageError as `evaluate`.
        """
        return replace(self, teacher=self._spread(features, clusters))

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: embeddings [N, D], of any length; images of one cluster are compared.

        Raises UsageError where a prompt has fewer than four images, where the teacher's pictures
        are not there, are of other prompts, or do not differ at all.
        """
        del prompts
        if self.teacher is None:
            raise UsageError(f"metric {self.name!r}: needs the teacher's pictures, which are not "
                             "drawn")  # fmt: skip
        ids, own = self._spread(features, clusters)
        whose, theirs = self.teacher
        if not np.array_equal(ids, whose):
            raise UsageError(f"metric {self.name!r}: the teacher's pictures are of other prompts")
        if theirs.mean() <= 0:
            raise UsageError(f"metric {self.name!r}: the teacher draws one picture with every seed")
        own, theirs = 100 * own, np.asarray(theirs)
        value = float(own.mean() / theirs.mean())
        low, high = bootstrap_ratio(own, theirs)
        return Result(
            value,
            low,
            high,
            len(features),
            ids,
            None,
            influence=(own - value * theirs) / theirs.mean(),
            covers="ratio of means over prompts like these",
            parts={"own": float(own.mean() / 100), "teacher": float(theirs.mean())},
            kind="ratio",
        )

    def _spread(self, features: Features, clusters: Sequence[int]) -> tuple[Ids, Array]:
        if np.unique(clusters, return_counts=True)[1].min() < LEAST:
            raise UsageError(f"metric {self.name!r}: needs {LEAST} seeds of a prompt or more")
        return SPREADS[self.name][0](features, clusters)


def share(name: str, network: Network, settings: Mapping[str, str]) -> ShareOfTeacher:
    """A metric of this file, through a network's embedding. settings: `against`, the teacher's
    identity."""
    return ShareOfTeacher(name, network.identity, network.name, settings.get("against", ""))
