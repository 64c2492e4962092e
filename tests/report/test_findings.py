"""Sentences and bold print follow the tests, not the ranking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.report.findings import findings, leader
from bench.report.words import decimals, listed
from bench.results.summary import Comparison, Contestant, MetricValue, Summary
from bench.statistics.printed import number, p_words


def metric(value: float, higher: bool = True) -> MetricValue:
    return MetricValue(value, value - 0.5, value + 0.5, 1000, "id", higher, "no")


def row(name: str, clip: float, fid: float) -> Contestant:
    method, _, steps = name.partition("-")
    metrics = {"clip": metric(clip), "fid": metric(fid, higher=False)}
    return Contestant(
        name, method, int(steps[:-4]), 1, "id", 1000, [0], "Apache-2.0", metrics=metrics
    )


def compared(a: str, b: str, name: str, delta: float, p: float) -> Comparison:
    return Comparison(a, b, name, delta, delta - 0.25, delta + 0.25, p / 2, p, None, 1000)


def small(*comparisons: Comparison) -> Summary:
    rows = [row("lcm-1step", 25.0, 30.0), row("tcd-1step", 26.0, 20.0), row("tscd-1step", 26.1, 25)]
    return Summary("s", "p", {}, {}, rows, list(comparisons))


def test_better_is_said_with_size_and_interval_in_the_metrics_own_direction() -> None:
    made = findings(
        small(
            compared("lcm-1step", "tcd-1step", "clip", -1.0, 0.001),
            compared("lcm-1step", "tcd-1step", "fid", 10.0, 0.001),
        )
    )
    assert made[0].sentences == [
        "tcd-1step is better than lcm-1step on CLIP by 1.00 [0.75, 1.25] and FID by 10.00 "
        "[9.75, 10.25]."
    ]


def test_what_is_lost_and_what_is_open_is_said_too() -> None:
    summary = small(
        compared("tcd-1step", "tscd-1step", "clip", -0.1, 0.4),
        compared("tcd-1step", "tscd-1step", "fid", -5.0, 0.01),
    )
    assert findings(summary)[0].sentences == [
        "tcd-1step is better than tscd-1step on FID by 5.00 [4.75, 5.25]; "
        "no difference could be shown at N = 1,000 on CLIP."
    ]
    both = small(
        compared("tcd-1step", "tscd-1step", "clip", -0.1, 0.01),
        compared("tcd-1step", "tscd-1step", "fid", -5.0, 0.01),
    )
    assert ", and worse on CLIP by 0.10 [" in findings(both)[0].sentences[0]


def test_nothing_shown_is_called_that() -> None:
    on_clip = compared("tcd-1step", "tscd-1step", "clip", -0.1, 0.051)
    made = findings(small(on_clip, compared("tcd-1step", "tscd-1step", "fid", -0.1, 0.4)))
    assert made[0].sentences == [
        "Between tcd-1step and tscd-1step no difference could be shown at N = 1,000 on CLIP "
        "and FID."
    ]
    assert made[0].lead == "No single best could be shown at N = 1,000 on CLIP and FID."
    assert findings(small(on_clip))[0].lead == (
        "No single best could be shown at N = 1,000 on CLIP; no test by prompt on FID."
    )


def test_a_leader_has_beaten_every_other_one() -> None:
    first = compared("lcm-1step", "tscd-1step", "clip", -1.1, 0.01)
    second = compared("tcd-1step", "tscd-1step", "clip", -0.1, 0.04)
    summary = small(first, second)
    assert leader(summary, summary.contestants, "clip") == "tscd-1step"
    doubtful = small(first, replace(second, p_adjusted=0.06))
    assert leader(doubtful, doubtful.contestants, "clip") is None
    assert leader(small(first), summary.contestants, "clip") is None
    assert leader(summary, summary.contestants[:1], "clip") is None


def test_the_lead_names_the_best_and_the_distance_to_the_teacher(
    example_summary: Callable[..., Summary],
) -> None:
    made = findings(example_summary(steps=(1, 4)))
    assert [part.heading for part in made] == ["1 step", "4 steps"]
    assert made[0].lead.startswith("tscd-1step is best on FID")
    assert "All are worse than teacher-25step on FID" in made[0].lead
    assert all("real" not in sentence for part in made for sentence in part.sentences)


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [(1234.5, 1, "1,234.5"), (-0.26, 1, "\u22120.3"), (-0.001, 2, "0.00"), (3, 0, "3")],
)
def test_numbers(value: float, places: int, text: str) -> None:
    assert number(value, places) == text


def test_words() -> None:
    assert [listed(w) for w in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c",
    ]  # fmt: skip
    assert [p_words(p) for p in (0.00001, 0.012)] == ["< 0.0001", "0.0120"]
    assert decimals(small(), "clip") == 2


def test_more_than_enough_is_not_better() -> None:
    summary = small(compared("tcd-1step", "lcm-1step", "diversity_share", 30.0, 0.001))
    rows = [
        replace(c, metrics={"diversity_share": metric(value)})
        for c, value in zip(summary.contestants[:2], (90.0, 120.0), strict=True)
    ]
    made = replace(summary, contestants=rows)
    assert leader(made, rows, "diversity_share") is None
    assert findings(made)[0].sentences == [
        "tcd-1step has more Diversity left by 30.00 [29.75, 30.25], which is not better: it has "
        "more than 100."
    ]
    less = [replace(c, metrics={"diversity_share": metric(c.metrics["diversity_share"].value - 60)})
            for c in rows]  # fmt: skip
    below = replace(made, contestants=less)
    assert leader(below, less, "diversity_share") == "tcd-1step"
    assert "tcd-1step is better than lcm-1step" in findings(below)[0].sentences[0]
