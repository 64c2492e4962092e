"""How often a check says what is not so: methods trained again with another seed, nothing else
changed, by simulation.

    python -m benchmarks.gate_errors [runs=200]

Of the kept trainings (reports/trainings): how far two of a method differ from prompt to prompt, and
how far their means do. From these a check's rows are drawn, six metrics of one contestant at four
steps, or of three at one step and three at four, and judged as `bench.check.verdicts` does, by
either question, with the margins of `shapes_check` (and, as before, with those of tables).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.check.measured import Gate, Measured
from bench.check.task import overall
from bench.check.verdicts import decided, two_sided
from bench.metrics import metric
from bench.results.entries import read_entry
from bench.run.extra_trainings import FEATURES, FOLDER
from bench.run.training_spread import found
from bench.statistics.differences import Difference
from bench.statistics.intervals import holm
from bench.statistics.method_difference import MethodDifference, reach
from bench.statistics.result import Result
from bench.suite import compose, suite

METRICS = ("fid", "fid_teacher", "clip", "aesthetic", "hps", "faithful")
TABLES = {"fid": 0.7, "fid_teacher": 0.7, "clip": 1.0, "aesthetic": 0.05, "hps": 0.5,
          "faithful": 0.02}  # fmt: skip
PROMPTS = (200, 1_000, 2_000)
CONTESTANTS = {1: ("4",), 6: ("1", "1", "1", "4", "4", "4")}


@dataclass(frozen=True)
class Kind:
    """A metric at a number of steps. between: deviation of a training's mean, of so many degrees of
    freedom; paired: of the difference of two trainings from prompt to prompt."""

    metric: str
    between: float
    freedom: float
    paired: float


def kinds(root: Path = FOLDER) -> dict[str, list[Kind]]:
    """What the kept trainings say, by number of steps."""
    between, paired = found(root), _paired(root)
    return {
        steps: [
            Kind(name, between[steps][name]["variance"] ** 0.5, between[steps][name]["freedom"],
                 paired[steps, name])
            for name in METRICS
        ]
        for steps in ("1", "4")
    }  # fmt: skip


def _paired(root: Path) -> dict[tuple[str, str], float]:
    """Root mean square over methods, from seeds 1 and 2 of each."""
    squares: dict[tuple[str, str], list[float]] = {}
    for path in sorted(root.glob("*/*.seed1.safetensors")):
        one, other = read_entry(path), read_entry(Path(str(path).replace(".seed1.", ".seed2.")))
        for name in METRICS:
            sides = [_by_prompt(entry.arrays, name) for entry in (one, other)]
            squares.setdefault((str(one.record["steps"]), name), []).append(
                float(np.var(sides[0] - sides[1]))
            )
    return {key: float(np.sqrt(np.mean(values))) for key, values in squares.items()}


def _by_prompt(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name in arrays:
        return arrays[name].astype(np.float64)
    made = metric(name)
    features = arrays[f"{FEATURES}{made.extractor}"].astype(np.float32)
    result = made.evaluate(features, [], arrays["index"].tolist())
    assert result.influence is not None
    return result.influence


@dataclass(frozen=True)
class Case:
    """What is asked, and what is so.

    margins: by metric.  trainings: of either side.  losses: in margins, of every metric.  wider:
    how much further this method's trainings lie apart than the baseline knows.
    """

    words: str
    gate: Gate
    margins: Mapping[str, float]
    trainings: int = 1
    losses: float = 0.0
    wider: float = 1.0


def row(case: Case, kind: Kind, prompts: int, rng: np.random.Generator) -> Measured:
    """One row: the trainings of either side, drawn."""
    gate, count, margin = case.gate, case.trainings, case.margins[kind.metric]
    error = kind.paired / (prompts * count) ** 0.5
    between = (2 / count) ** 0.5 * case.wider * kind.between
    delta = case.losses * margin + between * rng.normal() + error * rng.normal()
    empty = Result(0.0, 0.0, 0.0, prompts, np.arange(prompts), None)
    d: Difference | MethodDifference
    if gate == "weights":
        far = 1.96 * error
        d = Difference(delta, delta - far, delta + far, delta, error, float("inf"), prompts)
    else:
        own = 2.0 * (count - 1)
        known = kind.between**2 * rng.chisquare(kind.freedom)
        seen = (case.wider * kind.between) ** 2 * (rng.chisquare(own) if own else 0.0)
        freedom = kind.freedom + own
        variance = (known + seen) / freedom
        parts = ((2 / count * variance, freedom), (error**2, prompts - 1.0))
        far = reach(0.025, *parts)
        d = MethodDifference(
            delta, delta - far, delta + far, *parts, (count, count), (variance, variance)
        )
    return Measured("x", kind.metric, empty, empty, False, False, margin, gate, d)


def outcome(rows: list[Measured]) -> str:
    """Of the whole check."""
    p = [two_sided(one.difference, None) for one in rows]
    adjusted = holm(p)
    return overall([decided(r, p[i], float(adjusted[i]), len(rows)) for i, r in enumerate(rows)])


def main(words: list[str]) -> int:
    """Print the table; in a cell regress / pass / inconclusive, in % of the checks."""
    runs = int(dict(word.split("=", 1) for word in words).get("runs", 200))
    given = suite.read("shapes_check", compose.compose("shapes_check", []))
    chosen = {name: float(given.margins[name]) for name in METRICS}
    known = kinds()
    cases = (
        Case("these weights, margins of tables", "weights", TABLES),
        Case("these weights", "weights", chosen),
        Case("this training", "training", chosen),
        Case("the same, trainings 1.5 times as far apart as known", "training", chosen, wider=1.5),
        Case("the same, five trainings of either side", "training", chosen, trainings=5),
        Case("the same, worse by three margins", "training", chosen, losses=3.0),
    )
    print("| question | contestants |", " | ".join(f"{n:,} prompts" for n in PROMPTS), "|")
    print("|---|--:|" + "--:|" * len(PROMPTS))
    for case in cases:
        for count, steps in CONTESTANTS.items():
            cells = []
            for prompts in PROMPTS:
                rng = np.random.default_rng([count, prompts])
                said = [
                    outcome([row(case, kind, prompts, rng) for one in steps for kind in known[one]])
                    for _ in range(runs)
                ]  # fmt: skip
                shares = [100 * said.count(o) / runs for o in ("regress", "pass", "inconclusive")]
                cells.append(" / ".join(f"{share:.0f}" for share in shares))
            print(f"| {case.words} | {count} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
