"""Scores and comparisons of whole contestants, on numbers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.metrics.base import Metric
from bench.metrics.cosine import CosineScore
from bench.metrics.frechet import FrechetDistance
from bench.metrics.references import ReferenceStatistics
from bench.results.summary import Comparison, Contestant
from bench.run.scoring import MeasuredContestant, score
from bench.statistics.comparisons import Scored, compare, pairs, sensitivity
from bench.statistics.intervals import holm

N = 400


def contestant(name: str, method: str, steps: int | None) -> Contestant:
    return Contestant(name, method, steps, steps, f"id-{name}", N, [0], "Apache-2.0")


def texts(prompts: list[str]) -> np.ndarray:
    return np.tile(np.array([[1.0, 0.0]], np.float32), (len(prompts), 1))


def metrics() -> list[Metric]:
    rng = np.random.default_rng(0)
    ref = ReferenceStatistics.of(rng.normal(size=(5_000, 6)), name="real", extractor="net")
    return [
        FrechetDistance(ref, "shapes_features"),
        CosineScore("clip", "net", "shapes_clip", texts),
    ]


def scored(name: str, method: str, steps: int | None, shift: float, noise: float) -> Scored:
    """Features that share their randomness by prompt; `shift` makes them worse by either metric."""
    common, own = np.random.default_rng(1), np.random.default_rng([2, len(name)])
    features = common.normal(size=(N, 6)) + shift
    cosine = 0.5 - 0.1 * shift + 0.05 * common.normal(size=N) + noise * own.normal(size=N)
    entry = MeasuredContestant(
        contestant(name, method, steps),
        {
            "shapes_features": features.astype(np.float32),
            "shapes_clip": np.stack([cosine, np.zeros(N)], axis=1).astype(np.float32),
        },
        [f"prompt {i}" for i in range(N)],
        range(N),
    )
    return score(entry, metrics())


def field() -> list[Scored]:
    return [
        scored("teacher-25step", "teacher", 25, 0.0, 0.01),
        scored("lcm-1step", "lcm", 1, 0.5, 0.01),
        scored("tcd-1step", "tcd", 1, 0.5, 0.02),
        scored("tscd-2step", "tscd", 2, 0.1, 0.01),
        scored("real", "real", None, 0.0, 0.0),
    ]


def find(rows: list[Comparison], a: str, b: str, metric: str) -> Comparison:
    return next(r for r in rows if (r.a, r.b, r.metric) == (a, b, metric))


def test_pairs_are_equals_then_the_teacher_and_never_an_anchor() -> None:
    assert pairs(s.contestant for s in field()) == [
        ("lcm-1step", "tcd-1step"),
        ("lcm-1step", "teacher-25step"),
        ("tcd-1step", "teacher-25step"),
        ("tscd-2step", "teacher-25step"),
    ]


def test_score_fills_in_what_the_schema_asks_for() -> None:
    value = scored("lcm-1step", "lcm", 1, 0.5, 0.01).contestant.metrics["clip"]
    assert value.value == pytest.approx(45.0, abs=0.6)
    assert value.low < value.value < value.high
    assert (value.n, value.higher_is_better, value.trained_on) == (N, True, "no")


def test_a_metric_without_its_features_is_left_out() -> None:
    entry = MeasuredContestant(contestant("a", "lcm", 1), {}, [], [])
    assert score(entry, metrics()).contestant.metrics == {}


def test_differences_are_found_where_they_are_and_only_there() -> None:
    rows = compare(field())
    worse = find(rows, "lcm-1step", "teacher-25step", "clip")
    assert worse.delta == pytest.approx(-5.0, abs=0.2)
    assert worse.low < worse.delta < worse.high < 0
    assert worse.p_adjusted < 0.05
    assert worse.win_rate is not None
    assert worse.win_rate < 0.1
    same = find(rows, "lcm-1step", "tcd-1step", "clip")
    assert same.low < 0 < same.high
    assert same.p_adjusted > 0.05


def test_frechet_difference_is_paired_by_prompt() -> None:
    rows = compare(field())
    distance = find(rows, "tscd-2step", "teacher-25step", "fid")
    assert distance.win_rate is None
    assert distance.delta == pytest.approx(6 * 0.1**2, abs=0.05)
    parts = [s.contestant.metrics["fid"] for s in field()]
    unpaired = np.hypot(parts[0].high - parts[0].value, parts[3].high - parts[3].value)
    assert distance.high - distance.delta < 0.8 * unpaired


def test_p_is_adjusted_over_the_whole_summary() -> None:
    rows = compare(field())
    assert len(rows) == 8
    assert [r.p_adjusted for r in rows] == pytest.approx(holm([r.p for r in rows]).tolist())


def test_other_prompts_are_paired_where_they_meet_and_frechet_is_left_out() -> None:
    a, b = field()[1], field()[2]
    half = MeasuredContestant(
        b.contestant,
        {
            "shapes_features": np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32),
            "shapes_clip": np.tile(np.array([[0.4, 0.0]], np.float32), (200, 1)),
        },
        [f"prompt {i}" for i in range(200)],
        range(200),
    )
    rows = compare([a, score(half, metrics())])
    assert [(r.metric, r.n) for r in rows] == [("clip", 200)]


def test_what_could_have_been_found_is_of_one_comparison() -> None:
    """More prompts are needed exactly where the threshold lies above what matters; with a margin
    of the comparison's own value a mixture of two comparisons would contradict itself."""
    rows = compare(field(), {"fid": 0.2, "clip": 0.05})
    for metric, known in sensitivity(rows).items():
        assert known.margin is not None and known.prompts_needed is not None, metric
        assert (known.prompts_needed > known.prompts) == (known.detectable > known.margin), metric
        assert known.worst >= known.detectable


def test_a_percentage_of_a_distance_is_of_its_value_at_infinity() -> None:
    """Of a few images a distance is mostly bias, which both sides have alike."""
    rows, known = compare(field(), {"fid": "10%", "clip": "10%"}), field()
    fid = find(rows, "lcm-1step", "tcd-1step", "fid").equivalence
    clip = find(rows, "lcm-1step", "tcd-1step", "clip").equivalence
    b = known[2].results
    assert fid is not None and clip is not None and b["fid"].at_infinity is not None
    assert fid.margin == pytest.approx(0.1 * b["fid"].at_infinity)
    assert b["fid"].at_infinity < b["fid"].value
    assert clip.margin == pytest.approx(0.1 * b["clip"].value)
