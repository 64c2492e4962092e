"""Votes -> figures of the report: shares, strengths, agreement, raters, votes still needed.

Votes of people and simulated ones are never put together.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import holm, quantile_of_normal
from bench.study.material import Material
from bench.study.mixed import Mixed, mixed
from bench.study.shares import Share, even_p, share
from bench.study.store import Rater, Vote, VoteStore
from bench.study.strengths import Ballots, Estimate, strengths

LEAST_RIGHT = 0.8  # of the checks that a rater must pass,
FAILURES = 2  # where at least this many were failed
POWER = 0.8
LEVEL = 0.05
EXAMPLE = 0.6  # a preference for which the votes needed are always given


@dataclass(frozen=True)
class RaterLine:
    """One rater. checks, passed: attention checks; left_out: too many failed; seconds: median."""

    name: str
    votes: int
    checks: int
    passed: int
    left_out: bool
    seconds: float


@dataclass(frozen=True)
class PairLine:
    """Two contestants by the votes on them, of raters that count.

    share: of votes for a, ties and both bad half to either side; low, high: 95 % interval for new
    raters and prompts, None below two votes.  p_adjusted: Holm over all pairs.  preferred: who is
    preferred where p_adjusted < 0.05.  needed: further votes until the observed share would be
    shown with a chance of 80 %; None where nothing was observed to show.  known: a simulated
    panel's true share.  mixed: the share by the mixed model, with its p adjusted by Holm; None
    where it was not asked for.
    """

    a: str
    b: str
    votes: int
    a_wins: int
    b_wins: int
    ties: int
    both_bad: int
    share: float | None
    low: float | None
    high: float | None
    p: float
    p_adjusted: float
    preferred: str | None
    needed: int | None
    known: float | None
    mixed: Mixed | None = None


@dataclass(frozen=True)
class StrengthLine:
    """A contestant's Bradley-Terry strength against the mean of all, with a 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    known: float | None


@dataclass(frozen=True)
class Agreement:
    """alpha: Krippendorff's, 1 is full agreement and 0 what chance gives.  same: share of pairs of
    raters that gave the same answer to a question.  questions: how many two raters answered."""

    alpha: float
    same: float
    questions: int


@dataclass(frozen=True)
class PanelFigures:
    """All figures of people's votes, or of simulated ones.

    votes: those that count (no checks, no excluded raters).  left: share of left among left and
    right. example: votes per pair that show a preference of 60 % with a chance of 80 %.
    """

    simulated: bool
    votes: int
    raters: list[RaterLine]
    pairs: list[PairLine]
    strengths: list[StrengthLine]
    agreement: Agreement | None
    left: float | None
    example: int
    first: float
    last: float


def panels(material: Material, store: VoteStore, mixed_model: bool = False) -> list[PanelFigures]:
    """People's figures, then those of a simulated panel, each only where there are votes."""
    found = []
    for simulated in (False, True):
        votes = store.votes(simulated=simulated)
        if votes:
            known = json.loads(store.about("panel") or "{}") if simulated else {}
            found.append(panel(material, votes, known, mixed_model))
    return found


def panel(
    material: Material, votes: Sequence[Vote], known: dict[str, Any], mixed_model: bool = False
) -> PanelFigures:
    """The figures of some votes.

    known: a simulated panel's true `strengths` and `shares`.  mixed_model: add it to every pair.
    """
    raters = rater_lines(votes)
    trusted = {line.name for line in raters if not line.left_out}
    counted = [v for v in votes if v.trial.kind != "check" and v.rater.name in trusted]
    ballots = ballots_of(material, counted)
    sided = [v for v in counted if v.choice in ("left", "right")]
    pairs, effect = _pairs(material, counted, ballots, known.get("shares", {}))
    return PanelFigures(
        simulated=votes[0].rater.simulated,
        votes=len(counted),
        raters=raters,
        pairs=_with_mixed(material, ballots, pairs) if mixed_model else pairs,
        strengths=_strengths(material, ballots, known.get("strengths", {})),
        agreement=agreement(counted),
        left=sum(v.choice == "left" for v in sided) / len(sided) if sided else None,
        example=_example(effect, len(material.pairs)),
        first=min(v.at for v in votes),
        last=max(v.at for v in votes),
    )


def ballots_of(material: Material, votes: Sequence[Vote]) -> Ballots:
    """Votes that are not on checks, as numbers."""
    number = {name: i for i, name in enumerate(material.contestants)}
    worth = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}
    columns = (
        [number[v.trial.a] for v in votes],
        [number[v.trial.b] for v in votes],
        [v.rater.id for v in votes],
        [v.trial.prompt for v in votes],
    )
    first, second, rater, prompt = (np.array(column, np.int64) for column in columns)
    return Ballots(first, second, np.array([worth[v.winner] for v in votes]), rater, prompt)


def rater_lines(votes: Sequence[Vote]) -> list[RaterLine]:
    """One line per rater, by name; who fails two checks and over a fifth of them is left out."""
    by_rater: dict[Rater, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_rater[vote.rater].append(vote)
    return [_rater(rater, theirs) for rater, theirs in sorted(by_rater.items(), key=_name)]


def _name(entry: tuple[Rater, list[Vote]]) -> str:
    return entry[0].name.casefold()


def _rater(rater: Rater, votes: list[Vote]) -> RaterLine:
    checks = [vote.winner == "a" for vote in votes if vote.trial.kind == "check"]
    failed = checks.count(False)
    out = failed >= FAILURES and sum(checks) < LEAST_RIGHT * len(checks)
    seconds = float(np.median([vote.seconds for vote in votes]))
    plain = len(votes) - len(checks)
    return RaterLine(rater.name, plain, len(checks), sum(checks), out, seconds)


def agreement(votes: Sequence[Vote]) -> Agreement | None:
    """How far raters agree, on questions that several answered; None without any."""
    answers: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for vote in votes:
        answers[vote.trial.prompt, vote.trial.a, vote.trial.b].append(vote.winner)
    several = [given for given in answers.values() if len(given) > 1]
    if not several:
        return None
    kinds = ("a", "b", "tie", "both_bad")
    counts = np.array([[given.count(kind) for kind in kinds] for given in several])
    sizes = counts.sum(axis=1)
    same = float((counts * (counts - 1)).sum() / (sizes * (sizes - 1)).sum())
    return Agreement(krippendorff(counts), same, len(several))


def krippendorff(counts: NDArray[np.int64]) -> float:
    """Krippendorff's alpha for nominal data (2011, "Computing Krippendorff's Alpha-Reliability").

    counts: [units, values], how many raters gave each value; units with one rater count for
    nothing.  1 without any disagreement; nan if only one value was given.
    """
    paired = counts[counts.sum(axis=1) > 1].astype(np.float64)
    sizes = paired.sum(axis=1)
    seen = ((sizes**2 - (paired**2).sum(axis=1)) / (sizes - 1)).sum()
    totals = paired.sum(axis=0)
    expected = (totals.sum() ** 2 - (totals**2).sum()) / max(1.0, totals.sum() - 1)
    return float(1 - seen / expected) if expected > 0 else math.nan


def _pairs(
    material: Material, votes: Sequence[Vote], ballots: Ballots, known: dict[str, float]
) -> tuple[list[PairLine], float]:
    """(one line per pair, by how much votes are worth less than independent ones)."""
    lines, estimates = [], []
    for a, b in material.pairs:
        mine = (ballots.first == a) & (ballots.second == b)
        winners = [v.winner for v, m in zip(votes, mine, strict=True) if m]
        names = material.contestants[a], material.contestants[b]
        estimates.append(share(ballots.where(mine)) if len(winners) > 1 else None)
        lines.append(_pair(names, winners, estimates[-1], known.get("|".join(names))))
    adjusted = holm([line.p for line in lines])
    judged = [
        _judged(line, one, float(p), len(lines))
        for line, one, p in zip(lines, estimates, adjusted, strict=True)
    ]
    return judged, _design_effect(lines, estimates)


def _with_mixed(material: Material, ballots: Ballots, lines: Sequence[PairLine]) -> list[PairLine]:
    """The lines with the mixed model's figures, where there are two votes or more."""
    masks = [(ballots.first == a) & (ballots.second == b) for a, b in material.pairs]
    found = [mixed(ballots.where(mine)) if mine.sum() > 1 else None for mine in masks]
    adjusted = holm([one.p if one else 1.0 for one in found])
    return [
        replace(line, mixed=one and replace(one, p=float(p)))
        for line, one, p in zip(lines, found, adjusted, strict=True)
    ]


def _pair(
    names: tuple[str, str], winners: list[str], found: Share | None, known: float | None
) -> PairLine:
    return PairLine(
        a=names[0], b=names[1], votes=len(winners), a_wins=winners.count("a"),
        b_wins=winners.count("b"), ties=winners.count("tie"), both_bad=winners.count("both_bad"),
        share=found.value if found else None, low=found.low if found else None,
        high=found.high if found else None, p=even_p(found) if found else 1.0, p_adjusted=1.0,
        preferred=None, needed=None, known=known,
    )  # fmt: skip


def _judged(line: PairLine, found: Share | None, p: float, family: int) -> PairLine:
    """The line with its verdict by Holm's p, and the votes still needed."""
    if found is None or found.value == 0.5:
        return replace(line, p_adjusted=p)
    if p < LEVEL:
        ahead = line.a if found.value > 0.5 else line.b
        return replace(line, p_adjusted=p, preferred=ahead, needed=0)
    times = _times(found, 1 - LEVEL / family)
    return replace(line, p_adjusted=p, needed=max(1, math.ceil(line.votes * (times - 1))))


def _times(found: Share, level: float) -> float:
    """How many times the votes, raters and prompts show the share with a chance of 80 %."""
    from scipy.optimize import brentq

    def lacking(log: float) -> float:
        grown = found.grown(math.exp(log))
        wanted = grown.reach(level) + grown.error * quantile_of_normal(2 * POWER - 1)
        return wanted - abs(found.value - 0.5)

    return math.exp(brentq(lacking, 0.0, 60.0)) if lacking(0.0) > 0 else 1.0


def _design_effect(lines: Sequence[PairLine], estimates: Sequence[Share | None]) -> float:
    """At least 1; median over pairs."""
    ratios = [
        line.votes * one.error**2 / 0.25
        for line, one in zip(lines, estimates, strict=True)
        if one is not None and line.votes > 9
    ]
    return max(1.0, float(np.median(ratios))) if ratios else 1.0


def _example(effect: float, family: int) -> int:
    """Votes on a pair that show a preference of 60 % with a chance of 80 %, by many raters."""
    reach = quantile_of_normal(1 - LEVEL / family) + quantile_of_normal(2 * POWER - 1)
    return math.ceil(effect * 0.25 * (reach / (EXAMPLE - 0.5)) ** 2)


def _strengths(material: Material, ballots: Ballots, known: dict[str, float]) -> list[StrengthLine]:
    if not len(ballots):
        return []
    found: list[Estimate] = strengths(ballots, material.compared)
    lines = [
        StrengthLine(name, one.value, one.low, one.high, known.get(name))
        for name, one in zip(material.contestants, found, strict=True)
    ]
    return sorted(lines, key=lambda line: -line.value)
