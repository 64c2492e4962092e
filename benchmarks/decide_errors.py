"""How often `task=check decide=true` says what is not so, and how many prompts it takes, by
simulation.

    python -m benchmarks.decide_errors [runs=1000] [distances=200]

One contestant at four steps on six metrics, whose pictures are others (another library, say): from
prompt to prompt they differ as two trainings of a method do (reports/trainings), with the margins
of `shapes_check`. The last lines are of a Frechet distance alone, of features that are drawn
(normal, 16 dimensions) and measured by `bench.metrics.frechet` at every look. All is judged by
`bench.check.looks`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.check.looks import Looks, look_at, planned
from bench.check.measured import Measured
from bench.metrics.frechet import FrechetDistance
from bench.metrics.references import ReferenceStatistics
from bench.statistics import differences
from bench.statistics.differences import Difference
from bench.statistics.result import Result
from bench.suite import compose, suite
from benchmarks.gate_errors import METRICS, kinds

MOST = (500, 2_000)
LOSSES = (0.0, 0.5, 1.0, 2.0)  # in margins, of every metric, or of `clip` alone
DIMENSIONS, REFERENCE = 16, 20_000
Draw = Callable[[int], Sequence[Measured]]  # prompts -> the contestant's metrics on the first ones


@dataclass(frozen=True)
class Ended:
    """outcome: of the contestant.  prompts: drawn until then."""

    outcome: str
    prompts: int


def judge(draw: Draw, looks: Looks) -> Ended:
    """One check of one contestant, look after look."""
    still: set[str] | None = None
    for number, prompts in enumerate(looks.prompts):
        rows = draw(prompts)
        verdicts = {row.metric: look_at(row, number, looks, len(rows)).outcome for row in rows
                    if still is None or row.metric in still}  # fmt: skip
        if "regress" in verdicts.values():
            return Ended("regress", prompts)
        still = {name for name, outcome in verdicts.items() if outcome == "inconclusive"}
        if not still:
            return Ended("pass", prompts)
    return Ended("inconclusive", looks.prompts[-1])


def scores(
    deviations: dict[str, float], margins: dict[str, float], losses: dict[str, float],
    looks: Looks, rng: np.random.Generator,
) -> Draw:  # fmt: skip
    """Metrics whose differences are drawn prompt by prompt."""
    drawn = {name: losses[name] * margins[name] + s * rng.normal(size=looks.prompts[-1])
             for name, s in deviations.items()}  # fmt: skip

    def first(prompts: int) -> list[Measured]:
        return [_measured(name, drawn[name][:prompts], margins[name]) for name in deviations]

    return first


def _measured(name: str, d: np.ndarray, margin: float) -> Measured:
    """lower is better: a positive difference is a loss."""
    error = float(d.std(ddof=1) / len(d) ** 0.5)
    delta = float(d.mean())
    far = 1.96 * error
    found = Difference(delta, delta - far, delta + far, delta, error, len(d) - 1, len(d))
    result = Result(0.0, 0.0, 0.0, len(d), np.arange(len(d)), d)
    return Measured("x", name, result, result, False, False, margin, "weights", found)


def distances(
    loss: float, margin: float, reference: ReferenceStatistics, looks: Looks,
    rng: np.random.Generator,
) -> Draw:  # fmt: skip
    """A Frechet distance of two sets of features. The baseline's mean is off by 0.5, at which the
    distance is 0.25; the run's by as much more as makes the true loss."""
    metric, n = FrechetDistance(reference), looks.prompts[-1]
    shift = np.zeros((2, DIMENSIONS))
    shift[:, 0] = 0.5, (0.25 + loss * margin) ** 0.5
    before, after = ((rng.normal(size=(n, DIMENSIONS)) + one).astype(np.float32) for one in shift)

    def first(prompts: int) -> list[Measured]:
        x, y = (metric.evaluate(f[:prompts], [], range(prompts)) for f in (after, before))
        d = differences.difference(x, y)
        return [Measured("x", "fid", x, y, False, False, margin, "weights", d)]

    return first


def shares(ended: Sequence[Ended]) -> str:
    """Cells of a table."""
    outcomes = [one.outcome for one in ended]
    cells = [f"{100 * outcomes.count(o) / len(ended):.1f} %"
             for o in ("regress", "pass", "inconclusive")]  # fmt: skip
    return " | ".join([*cells, f"{np.mean([one.prompts for one in ended]):,.0f}"])


def main(words: list[str]) -> int:
    """Print the table."""
    given = {key: int(value) for key, value in (word.split("=", 1) for word in words)}
    chosen = suite.read("shapes_check", compose.compose("shapes_check", []))
    margins = {name: float(chosen.margins[name]) for name in METRICS}
    deviations = {kind.metric: kind.paired for kind in kinds()["4"]}
    print("| loss, in margins | prompts at most | regress | pass | inconclusive | drawn |")
    print("|---|--:|--:|--:|--:|--:|")
    for most in MOST:
        looks = planned(most)
        for words_, where in (("of every metric", METRICS), ("of `clip` alone", ("clip",))):
            for loss in LOSSES[where != METRICS :]:
                rng = np.random.default_rng([most, round(10 * loss)])
                losses = {name: loss * (name in where) for name in METRICS}
                ended = [judge(scores(deviations, margins, losses, looks, rng), looks)
                         for _ in range(given.get("runs", 1_000))]  # fmt: skip
                print(f"| {loss:g} {words_} | {most:,} | {shares(ended)} |", flush=True)
    rng = np.random.default_rng(0)
    reference = ReferenceStatistics.of(
        rng.normal(size=(REFERENCE, DIMENSIONS)), name="normal", extractor="normal/1"
    )
    looks, margin = planned(500), 0.3
    for loss in LOSSES:
        ended = [judge(distances(loss, margin, reference, looks, rng), looks)
                 for _ in range(given.get("distances", 200))]  # fmt: skip
        print(f"| {loss:g} of a measured distance | 500 | {shares(ended)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
