"""Shares of the teacher's spread: against Vendi's own package, closed forms, simulation."""

from __future__ import annotations

import numpy as np
import pytest

from bench.errors import UsageError
from bench.metrics.diversity_share import ShareOfTeacher, vendi
from bench.statistics import differences
from bench.statistics.intervals import bootstrap_ratio
from bench.suite import suite

# vendi_score 0.0.3 (MIT), `vendi.score_dual(x, normalize=True)`, of the rows that `rows` draws
VENDI = ((4, 8, 2.0, 1.4645107574947658), (4, 8, 2.0, 1.5218239703283813),
         (8, 64, 0.5, 6.865023934033061))  # fmt: skip


def unit(x: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = x / np.linalg.norm(x, axis=1, keepdims=True)
    return scaled


def share(name: str = "diversity_share") -> ShareOfTeacher:
    return ShareOfTeacher(name, "net/1", "net", "the teacher")


def pictures(prompts: int, seeds: int, spread: float, draw: int) -> tuple[np.ndarray, list[int]]:
    """Features [N, 16] around a centre of each prompt, and their prompt ids."""
    centres = np.random.default_rng(1).normal(size=(prompts, 1, 16)) * 2
    own = np.random.default_rng(draw).normal(size=(prompts, seeds, 16)) * spread
    ids = [index for index in range(prompts) for _ in range(seeds)]
    return (centres + own).reshape(-1, 16).astype(np.float32), ids


def test_vendis_score_is_that_of_its_package() -> None:
    rng = np.random.default_rng(0)
    for rows, columns, shift, golden in VENDI:
        x = rng.normal(size=(rows, columns)) + shift
        assert vendi(unit(x)) == pytest.approx(golden, rel=1e-10)


@pytest.mark.parametrize("name", ["diversity_share", "vendi_share"])
def test_closed_forms(name: str) -> None:
    """Four orthogonal pictures: 1 - cos is 1, V is 4. Two and two alike: 4 of 6 pairs, V is 2."""
    four, two = np.eye(4), np.eye(4)[[0, 0, 1, 1]]
    ids = [0] * 4 + [1] * 4
    metric = share(name).beside(np.concatenate([four, four]).astype(np.float32), ids)
    whole = metric.evaluate(np.concatenate([four, four]).astype(np.float32), [""] * 8, ids)
    half = metric.evaluate(np.concatenate([two, two]).astype(np.float32), [""] * 8, ids)
    none = metric.evaluate(np.ones((8, 4), np.float32), [""] * 8, ids)
    assert whole.value == pytest.approx(100) and none.value == pytest.approx(0, abs=1e-9)
    assert half.value == pytest.approx(
        {"diversity_share": 100 * 4 / 6, "vendi_share": 100 / 3}[name]
    )
    assert whole.parts["teacher"] == pytest.approx({"diversity_share": 1, "vendi_share": 3}[name])


def test_the_teacher_has_all_of_its_own_and_differences_are_paired() -> None:
    teacher, ids = pictures(40, 4, 1.0, draw=2)
    metric = share().beside(teacher, ids)
    own = metric.evaluate(teacher, [""] * len(ids), ids)
    assert (own.value, own.low, own.high, own.error) == pytest.approx((100, 100, 100, 0), abs=1e-9)
    student = metric.evaluate(pictures(40, 4, 0.6, draw=3)[0], [""] * len(ids), ids)
    d = differences.difference(student, own)
    assert d.delta == pytest.approx(student.value - 100) and student.high < 100
    # the difference's error is the ratio's: the teacher's own share is no random number
    assert d.error == pytest.approx(student.error)


@pytest.mark.parametrize(("prompts", "seeds", "said"), [(2, 3, "4 seeds"), (3, 4, "other prom")])
def test_what_is_no_share_is_one_line(prompts: int, seeds: int, said: str) -> None:
    features, ids = pictures(2, 4, 1.0, draw=2)
    student, whose = pictures(prompts, seeds, 1.0, draw=0)
    with pytest.raises(UsageError, match=said):
        share().beside(features, ids).evaluate(student, [], whose)
    with pytest.raises(UsageError, match="needs the teacher"):
        share().evaluate(features, [], ids)


def test_a_suite_with_too_few_seeds_is_refused() -> None:
    given = {"title": "x", "version": 1, "steps": [1], "prompts": {"set": "shapes/test"},
             "metrics": ["vendi_share"], "contestants": {"lcm": {"lora": "shapes/lcm"}},
             "seeds": [0, 1, 2]}  # fmt: skip
    with pytest.raises(
        UsageError, match="vendi_share needs 4 seeds of a prompt or more, here are 3"
    ):
        suite.read("x", given)


def coverage(prompts: int, runs: int) -> float:
    """Share of intervals that hold the ratio of expectations: spreads of a prompt are skewed, and
    teacher's and student's go together."""
    rng, held = np.random.default_rng(prompts), []
    for _ in range(runs):
        hard = rng.lognormal(0, 0.5, prompts)
        theirs = hard * rng.gamma(6, 1 / 6, prompts)
        own = 0.6 * hard * rng.gamma(6, 1 / 6, prompts)
        low, high = bootstrap_ratio(100 * own, theirs)
        held.append(low <= 60 <= high)
    return float(np.mean(held))


def test_the_interval_holds_the_ratio_of_expectations() -> None:
    assert 0.90 <= coverage(100, 400) <= 0.985


@pytest.mark.slow
def test_coverage_as_documented() -> None:
    figures = {prompts: coverage(prompts, 4_000) for prompts in (50, 200)}
    assert figures[50] == pytest.approx(0.932, abs=0.01)
    assert figures[200] == pytest.approx(0.940, abs=0.01)
