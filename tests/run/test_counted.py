"""What was counted is held against what the plan had said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bench.run.counted import not_as_planned


def said(planned_seconds: float, seconds: float, fetched: tuple[int, int] | None) -> list[str]:
    plan: Any = SimpleNamespace(seconds=planned_seconds, fetched=fetched)
    return not_as_planned(plan, [], {"generate": seconds / 2, "score": seconds / 2})


@pytest.mark.parametrize(
    ("planned", "seconds", "line"),
    [
        (100, 100, None),
        (100, 195, None),  # within a factor of two
        (2, 50, None),  # a minute is no matter
        (100, 250, "it took 250 seconds, the plan said about 100"),
        (3000, 1000, "it took 1,000 seconds, the plan said about 3,000"),
    ],
)
def test_seconds_far_from_the_plan_are_said(
    planned: float, seconds: float, line: str | None
) -> None:
    assert said(planned, seconds, None) == ([line] if line else [])


@pytest.mark.parametrize(
    ("fetched", "line"),
    [
        (None, None),
        ((7_000_000_000, 7_000_000_000), None),
        ((7_000_000_000, 7_050_000_000), None),  # published sizes are rounded
        ((7_000_000_000, 2_000_000_000), "2.000 GB were downloaded, the plan said 7.000 GB"),
        ((0, 500_000_000), "0.500 GB were downloaded, the plan said 0.000 GB"),
    ],
)
def test_bytes_other_than_planned_are_said(
    fetched: tuple[int, int] | None, line: str | None
) -> None:
    assert said(1, 1, fetched) == ([line] if line else [])
