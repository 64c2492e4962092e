"""Doublings of steps: t tests against scipy, the union's level by simulation, what is paired."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.results.summary import Contestant, MetricValue
from bench.statistics.comparisons import Scored
from bench.statistics.result import Array, Result, mean_result, share_result
from bench.statistics.step_response import step_responses

N = 200


def row(name: str, steps: int | None, **scores: Result) -> Scored:
    """A row of a run with results by metric."""
    contestant = Contestant(name, name.split("-")[0], steps, steps, f"{name}-id", N, [0], "")
    values = {
        metric: MetricValue(r.value, r.low, r.high, r.n, "", metric != "fid", "no")
        for metric, r in scores.items()
    }
    return Scored(replace(contestant, metrics=values), scores)


def clip(values: Array) -> Result:
    return mean_result(values, range(len(values)))


def normal(seed: int, mean: float = 80.0, spread: float = 2.0) -> Array:
    return mean + spread * np.random.default_rng(seed).normal(size=N)


def distance(value: float, influence: Array) -> Result:
    reach = 1.96 * influence.std() / len(influence) ** 0.5
    ids = np.arange(len(influence))
    return Result(value, value - reach, value + reach, len(ids), ids, None, influence, "")


@pytest.mark.parametrize(("shift", "verdict"), [(-0.2, "not worse"), (-3.0, "worse"),
                                                (-1.0, "not shown")])  # fmt: skip
def test_a_doubling_is_a_paired_t_test_against_the_margin(shift: float, verdict: str) -> None:
    one = normal(0)
    two = one + shift + 0.5 * np.random.default_rng(1).normal(size=N)
    rows = [row("a-1step", 1, clip=clip(one)), row("a-2step", 2, clip=clip(two))]
    (found,) = step_responses(rows, {"clip": 1.0})
    expected = stats.ttest_1samp(two - one, -1.0, alternative="greater")
    assert found.p_not_worse == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.p_worse_adjusted == pytest.approx(1 - expected.pvalue, rel=1e-6)
    assert (found.contestant, found.steps, found.more) == ("a", 1, 2)
    assert found.delta == pytest.approx((two - one).mean())
    assert found.low < found.delta < found.high and found.prompts == N
    assert found.verdict == verdict


def test_of_a_distance_less_is_better_and_the_margin_is_a_share_of_fewer_steps() -> None:
    noise = np.random.default_rng(0).normal(size=N)
    rows = [row("a-4step", 4, fid=distance(10.0, noise)),
            row("a-8step", 8, fid=distance(12.5, noise + 0.01 * np.arange(N) / N))]  # fmt: skip
    (found,) = step_responses(rows, {"fid": "10%"})
    assert found.margin == pytest.approx(1.0)
    assert found.delta == pytest.approx(2.5) and found.verdict == "worse"
    (better,) = step_responses([*reversed(rows)], {"fid": "30%"})
    assert better.verdict == "not worse"


def test_doublings_alone_are_paired_and_anchors_are_none() -> None:
    scores = {"clip": clip(normal(0)), "hps": clip(normal(1)),
              "faithful": share_result((normal(2) > 79).astype(float), range(N))}  # fmt: skip
    rows = [row(f"{name}-{n}step", n, **scores) for n in (1, 2, 4, 5, 25) for name in ("b", "c.x")]
    rows += [row("real", None, **scores), row("lone-8step", 8, **scores)]
    rows.append(row("b-8step", 8, clip=clip(normal(3))))
    found = {(r.contestant, r.steps, r.more, r.metric) for r in step_responses(rows)}
    expected = {(name, n, 2 * n, m) for name in ("b", "c.x") for n in (1, 2)
                for m in ("clip", "faithful")}  # fmt: skip
    assert found == expected | {("b", 4, 8, "clip")}


def test_what_cannot_be_paired_is_left_out() -> None:
    """Distances of other numbers of images."""
    rows = [row("a-1step", 1, fid=distance(3.0, np.ones(N))),
            row("a-2step", 2, fid=distance(3.0, np.ones(N - 1)))]  # fmt: skip
    assert step_responses(rows) == []


def test_never_worse_is_said_in_error_at_most_in_5_of_100_runs() -> None:
    """At the margin itself in one of three doublings, which is the worst that is not allowed."""
    rng, wrong = np.random.default_rng(5), 0
    for _ in range(300):
        scores = [80 + 2 * rng.normal(size=N)]
        for shift in (0.0, 1.0, -0.5):
            scores.append(scores[-1] + shift + rng.normal(size=N))
        rows = [row(f"a-{n}step", n, clip=clip(s)) for n, s in zip((1, 2, 4, 8), scores,
                                                                   strict=True)]  # fmt: skip
        found = step_responses(rows, {"clip": 0.5})
        wrong += all(one.verdict == "not worse" for one in found)
    low, high = stats.binom.interval(0.999, 300, 0.05)
    assert low <= wrong <= high
