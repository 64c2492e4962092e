"""Which jumps TCD and TSCD dwell on, and how their landings are weighed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hypersd.losses import pseudo_huber, squared_error
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule
from tests.hypersd.gaussians import SCALED_LINEAR
from tests.hypersd.trainings import rng

SCHEDULE = Schedule.from_config(SCALED_LINEAR)
OPTIONS = {"guidance": 2.0, "rank": 4, "points": 16, "distance": "mse", "target": "ema"}
STAGES = {"tcd": [], "tscd": [{"segments": 4, "steps": 2}]}


@pytest.fixture(params=STAGES)
def build(request: pytest.FixtureRequest, built: Callable[..., Any], no_previews: None) -> Any:
    recipe = Recipe(
        name="trial", method=request.param, steps=2, batch=64, lr=5e-3,
        data={"set": "shapes/train", "n": 6}, options=OPTIONS, stages=STAGES[request.param],
    )  # fmt: skip
    return lambda **options: built(recipe, options={**OPTIONS, **options})


def edges(task: Any) -> tuple[set[int], set[int]]:
    """Upper and lower ones of the segments of 16 points."""
    segments = task.method.segments(0)
    upper = {round((i + 1) * 1000 / segments) - 1 for i in range(segments)}
    return upper, {0, *upper} - {999}


def test_all_jumps_go_from_edge_to_edge_where_that_is_asked(build: Any) -> None:
    task = build(from_edge=1.0, to_edge=1.0)
    upper, lower = edges(task)
    pair = task.pair(0, rng(0))
    assert set(pair.t.tolist()) == upper
    assert set(pair.s.tolist()) == lower


def test_the_shares_are_those_that_were_asked_and_noise_is_as_without(build: Any) -> None:
    """Of 4,000 draws, above what chance does without; the same noise, so that trainings compare."""
    shape, some, plain = torch.Size((4000, 1, 1, 1)), build(from_edge=0.5, to_edge=0.75), build()
    per, points = 16 // some.method.segments(0), 16
    before, after = (task.draw(0, shape, rng(0)) for task in (plain, some))
    assert torch.equal(before.noise, after.noise)
    at_edge = (after.index % per == per - 1).float().mean()
    assert at_edge == pytest.approx(0.5 + 0.5 / per, abs=0.03)
    lands = some.method.endpoint(0, after)
    first = some.method.grid_at(0).previous[
        some.method.grid_at(0).first(after.index, points // per)
    ]
    assert (lands == first).float().mean() >= 0.75 - 0.03


def test_c_is_the_slope_of_a_jump_in_eps() -> None:
    """By differences of the jump itself, and the values of the uppermost jumps of k segments."""
    t, s = torch.tensor([999, 999, 499, 249]), torch.tensor([749, 499, 0, 124])
    x = torch.zeros(4, 1, 1, 1, dtype=torch.float64)
    slope = SCHEDULE.jump(x, x - 1, t, s) - SCHEDULE.jump(x, x, t, s)
    torch.testing.assert_close(SCHEDULE.landing(t, s), slope.flatten())


@pytest.mark.parametrize(("distance", "loss"), [("mse", squared_error), ("huber", pseudo_huber)])
def test_the_landing_is_divided_by_what_a_jump_makes_of_an_error(
    build: Any, distance: str, loss: Any
) -> None:
    task = build(landing_floor=0.05, distance=distance)
    pair = task.pair(0, rng(0))
    c2 = task.schedule.landing(pair.t, pair.s).square().clamp_min(0.05)
    expected = loss(pair.prediction, pair.goal) / (c2 if distance == "mse" else c2.sqrt())
    torch.testing.assert_close(task.compare(0, pair)[0], expected.float())
