"""The mixed model beside the shares in simulated studies with a known truth.

`python -m tests.study.test_mixed_coverage STUDIES ROW` prints the rows of docs/study.md whose names
have ROW in them ("" for all).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from bench.study.mixed import Mixed, mixed
from bench.study.shares import Share, even_p, share
from bench.study.strengths import Ballots
from tests.study.test_study_coverage import A, Array, B, Study, held, long_run

USUAL, WIDE = 0.4, 1.6
FAMILY = len(A)


@dataclass(frozen=True)
class Outcome:
    """Of many studies. claims: studies that call any pair certain.  certain: pairs that are.
    covered: intervals that hold the long run's share.  width: mean.  off: mean distance of the
    share from one half, less the true one."""

    claims: float
    certain: float
    covered: float
    width: float
    off: float


def fitted(ballots: Ballots) -> Iterator[tuple[tuple[int, int], Share, Mixed]]:
    """Both models' figures of every pair with more than five votes."""
    for a, b in zip(A, B, strict=True):
        mine = ballots.where((ballots.first == a) & (ballots.second == b))
        if len(mine) > 5:
            yield (a, b), share(mine), mixed(mine)


def outcomes(study: Study, studies: int, seed: int) -> tuple[Outcome, Outcome]:
    """What shares, and what the mixed model, make of so many studies."""
    _, truth = long_run(study)
    rows = []
    for number, ballots in enumerate(held(study, studies, seed)):
        for pair, one, other in fitted(ballots):
            for kind, found in enumerate((one, other)):
                p = even_p(one) if kind == 0 else other.p
                value = one.value if kind == 0 else other.share
                true = truth[pair]
                off = (value - true) * np.sign(true - 0.5)
                rows.append((kind, number, p * FAMILY < 0.05, found.low <= true <= found.high,
                             found.high - found.low, off))  # fmt: skip
    table = np.array(rows, np.float64)
    return _outcome(table[table[:, 0] == 0]), _outcome(table[table[:, 0] == 1])


def _outcome(rows: Array) -> Outcome:
    claims = np.mean([rows[rows[:, 1] == n, 2].any() for n in np.unique(rows[:, 1])])
    return Outcome(float(claims), *(float(x) for x in rows[:, 2:].mean(axis=0)))


def rows() -> Iterator[tuple[str, Study]]:
    """Raters x tastes x prompts."""
    for raters in (5, 10, 3, 20):
        for taste, called in ((WIDE, "wide"), (USUAL, "usual")):
            for prompts in (30, 100):
                study = Study((60,) * raters, prompts=prompts, taste=taste)
                yield f"{raters} raters, {called} tastes, {prompts} prompts", study
    yield "10 raters, in circles", Study((60,) * 10, prompts=30, circle=0.8)


def test_both_models_cover_a_few_studies() -> None:
    for found in outcomes(Study((24,) * 5, prompts=12), 10, seed=3):
        assert found.covered > 0.8 and abs(found.off) < 0.1


@pytest.mark.slow
def test_few_raters_of_wide_tastes_give_few_false_preferences() -> None:
    """At most 5 % of studies, and two standard errors of 40."""
    _, found = outcomes(Study((60,) * 5, prompts=30, taste=WIDE, lead=0.0), 40, seed=2026)
    assert found.claims <= 0.12 and 0.91 <= found.covered <= 0.99


if __name__ == "__main__":
    import sys

    chosen = [(name, study) for name, study in rows() if sys.argv[2] in name]
    for name, study in chosen:
        for said, lead in (("nobody is better", 0.0), ("some are", 1.0)):
            found = outcomes(replace(study, lead=lead), int(sys.argv[1]), seed=2026)
            for kind, one in zip(("shares", "mixed"), found, strict=True):
                print(f"{name}, {said}, {kind}:", one, flush=True)
