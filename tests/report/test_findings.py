"""Sentences and bold print follow the tests, not the ranking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.report import pairs, users_own
from bench.report.findings import findings, leader, trailing
from bench.report.words import decimals, listed
from bench.results.summary import Comparison, Contestant, Equivalence, MetricValue, Summary
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
    assert made[0].pairs.asked == [
        "tcd-1step is better than lcm-1step on CLIP by 1.00 [0.75, 1.25] and FID by 10.00 "
        "[9.75, 10.25]."
    ]


def test_what_is_lost_and_what_is_open_is_said_too() -> None:
    summary = small(
        compared("tcd-1step", "tscd-1step", "clip", -0.1, 0.4),
        compared("tcd-1step", "tscd-1step", "fid", -5.0, 0.01),
    )
    assert findings(summary)[0].pairs.asked == [
        "tcd-1step is better than tscd-1step on FID by 5.00 [4.75, 5.25]; "
        "no difference could be shown at N = 1,000 on CLIP."
    ]
    both = small(
        compared("tcd-1step", "tscd-1step", "clip", -0.1, 0.01),
        compared("tcd-1step", "tscd-1step", "fid", -5.0, 0.01),
    )
    assert ", and worse on CLIP by 0.10 [" in findings(both)[0].pairs.asked[0]


def test_nothing_shown_is_called_that() -> None:
    on_clip = compared("tcd-1step", "tscd-1step", "clip", -0.1, 0.051)
    made = findings(small(on_clip, compared("tcd-1step", "tscd-1step", "fid", -0.1, 0.4)))
    assert made[0].pairs.asked == [
        "Between tcd-1step and tscd-1step no difference could be shown at N = 1,000 on CLIP "
        "and FID."
    ]
    assert made[0].sentence == "No single best could be shown at N = 1,000 on CLIP and FID."
    assert findings(small(on_clip))[0].sentence == (
        "No single best could be shown at N = 1,000 on CLIP; not tested by prompt: FID."
    )


def every_pair(metric: str, *rows: tuple[str, str, float, float]) -> list[Comparison]:
    return [compared(f"{a}-1step", f"{b}-1step", metric, delta, p) for a, b, delta, p in rows]


def test_who_is_shown_to_be_behind_all_others_is_said() -> None:
    """On CLIP lcm has lost to both; on FID it is last as measured, and one loss may be chance."""
    clip = every_pair(
        "clip", ("lcm", "tcd", -1.0, 0.01), ("lcm", "tscd", -1.1, 0.01), ("tcd", "tscd", -0.1, 0.6)
    )
    fid = every_pair("fid", ("lcm", "tcd", 10.0, 0.01), ("lcm", "tscd", 5.0, 0.06))
    summary = small(*clip, *fid)
    assert trailing(summary, summary.contestants, "clip") == ("lcm-1step",)
    assert trailing(summary, summary.contestants, "fid") == ()
    assert trailing(summary, summary.contestants[:2], "clip") == ()  # of two, the other one is best
    assert findings(summary)[0].sentence == (
        "lcm-1step is worst on CLIP; no single best could be shown at N = 1,000 on CLIP and FID."
    )


def test_several_that_nobody_separates_are_behind_together() -> None:
    rows = [row(f"{m}-1step", value, 30.0) for m, value in
            (("a", 20.0), ("b", 20.1), ("c", 25.0), ("d", 25.1))]  # fmt: skip
    shown = [compared(f"{x}-1step", f"{y}-1step", "clip", -5.0, 0.001) for x in "ab" for y in "cd"]
    level = [compared("a-1step", "b-1step", "clip", -0.1, 0.7)]
    summary = Summary("s", "p", {}, {}, rows, [*shown, *level])
    assert trailing(summary, rows, "clip") == ("b-1step", "a-1step")
    said = findings(summary)[0].sentence
    assert said.startswith("b-1step and a-1step are behind all others on CLIP; ")


def test_what_the_suite_does_not_ask_for_is_marked_once() -> None:
    asked = every_pair("clip", ("tcd", "tscd", -1.0, 0.01), ("lcm", "tscd", -1.0, 0.01))
    beyond = every_pair(
        "clip", ("lcm", "tcd", -1.0, 0.01)
    ) + every_pair("fid", ("lcm", "tcd", 9.0, 0.01), ("lcm", "tscd", 9.0, 0.01))  # fmt: skip
    summary = small(*asked, *(replace(one, family="exploratory") for one in beyond))
    (made,) = findings(summary)
    assert made.sentence == (
        "tscd-1step is best on CLIP; lcm-1step is worst on CLIP and FID (exploratory); "
        "no single best could be shown at N = 1,000 on FID."
    )
    assert len(made.pairs.asked) == 2 and len(made.pairs.exploratory) == 2
    assert not any("xploratory" in said for said in made.pairs.exploratory)


def with_mine(*comparisons: Comparison) -> Summary:
    """A run to which the command adds `mine`."""
    command = "python bench.py suite=s +contestants.mine.lora=tcd.safetensors limit=9"
    rows = [row("lcm-1step", 25.0, 30.0), row("tcd-1step", 26.0, 20.0), row("mine-1step", 25.5, 25)]
    return Summary("s", "p", {"command": command}, {}, rows, list(comparisons))


def won(a: str, b: str, delta: float, p: float) -> Comparison:
    return replace(compared(f"{a}-1step", f"{b}-1step", "clip", delta, p), win_rate=0.5)


def test_the_users_own_contestant_comes_first_and_its_standing_is_said() -> None:
    summary = with_mine(
        won("lcm", "tcd", -1.0, 0.001), won("lcm", "mine", -0.5, 0.01), won("tcd", "mine", 0.5, 0.2)
    )
    assert users_own.added(summary) == {"mine-1step"}
    assert pairs.ordered(summary) == [
        ("mine-1step", "tcd-1step"), ("mine-1step", "lcm-1step"), ("lcm-1step", "tcd-1step"),
    ]  # fmt: skip
    (made,) = findings(summary)
    assert "mine-1step is better than 1 and worse than 0 of 2 rivals on CLIP;" in made.sentence
    assert made.pairs.asked[0].startswith("Between tcd-1step and mine-1step no difference")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("suite=s", set()),
        ("suite=s ~contestants.tcd", set()),
        ("suite=s contestants.tcd.eta=0.1", {"tcd-1step", "tcd-4step"}),
        ("suite=s '+contestants.tc.lora=a b'", set()),
        ("suite=s images=pictures/mine", {"mine"}),
        ("suite=s ++contestants.mine.lora=x", {"mine"}),
        ("suite=s 'images=my pictures/mine'", {"mine"}),
        ("suite=s contestants.tcd.lora='it is broken", {"tcd-1step", "tcd-4step"}),
        ("('s', limit=9)", set()),
        ("('s', contestants={'mine': {'lora': 'x'}, 'other': None})", {"mine"}),
        ("('s', **{'contestants.tcd.eta': 0.1, 'seeds': [0]})", {"tcd-1step", "tcd-4step"}),
        ("('s', images=PosixPath('my pictures/mine'))", {"mine"}),
        ("('s', images=", set()),
    ],
)
def test_the_command_says_which_contestants_are_the_users(words: str, expected: set[str]) -> None:
    rows = [row(name, 25.0, 30.0) for name in ("tcd-1step", "tcd-4step")]
    own = replace(rows[0], name="mine", steps=None)
    command = f"bench.evaluate{words}" if words.startswith("(") else f"python bench.py {words}"
    summary = Summary("s", "p", {"command": command}, {}, [*rows, own])
    assert users_own.added(summary) == expected
    of_two = replace(summary, environment={"a": summary.environment, "b": {"command": "x"}})
    assert users_own.added(of_two) == expected


def test_without_a_contestant_of_the_users_the_suites_question_comes_first() -> None:
    """The strongest rival first, the step counts in turns, the teacher last."""
    rows = [row(f"{m}-{s}step", value, 30.0) for s in (1, 4)
            for m, value in (("lcm", 20.0), ("tcd", 24.0), ("own", 22.0))]  # fmt: skip
    teacher = replace(row("teacher-25step", 30.0, 10.0), method="teacher")
    found = [
        replace(compared(f"{a}-{s}step", f"{b}-{s}step", "clip", 1.0, 0.5),
                family="primary" if "own" in (a, b) else "exploratory", win_rate=0.5)
        for s in (1, 4) for a, b in (("lcm", "tcd"), ("lcm", "own"), ("tcd", "own"))
    ]  # fmt: skip
    last = replace(compared("own-1step", "teacher-25step", "clip", -1, 0.5), family="exploratory")
    assert pairs.ordered(Summary("s", "p", {}, {}, [*rows, teacher], [last, *found])) == [
        ("own-1step", "tcd-1step"), ("own-4step", "tcd-4step"),
        ("own-1step", "lcm-1step"), ("own-4step", "lcm-4step"),
        ("lcm-1step", "tcd-1step"), ("lcm-4step", "tcd-4step"), ("own-1step", "teacher-25step"),
    ]  # fmt: skip


def test_equivalent_pairs_are_one_sentence_each() -> None:
    test = Equivalence(0.5, 0, 0, 0, 0, 0, 0.01)
    wide = Equivalence(1.0, 0, 0, 0, 0, 0, 0.2)
    first = compared("lcm-1step", "tcd-1step", "clip", -0.1, 0.5)
    summary = small(
        replace(first, equivalence=test),
        replace(first, metric="fid", equivalence=test),
        replace(first, b="tscd-1step", equivalence=wide),
    )
    assert pairs.equivalent(summary).asked == [
        "lcm-1step and tcd-1step differ by less than matters on CLIP (by less than 0.5) and FID "
        "(by less than 0.5)."
    ]


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
    assert made[0].sentence == (
        "tscd-1step is best on all 6 metrics; lcm-1step is worst on all 6 metrics; "
        "all are worse than teacher-25step on all 6 metrics."
    )
    assert all("real" not in sentence for part in made for sentence in part.pairs.asked)


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
    assert findings(made)[0].pairs.asked == [
        "tcd-1step has more Diversity left by 30.00 [29.75, 30.25], which is not better: it has "
        "more than 100."
    ]
    less = [replace(c, metrics={"diversity_share": metric(c.metrics["diversity_share"].value - 60)})
            for c in rows]  # fmt: skip
    below = replace(made, contestants=less)
    assert leader(below, less, "diversity_share") == "tcd-1step"
    assert "tcd-1step is better than lcm-1step" in findings(below)[0].pairs.asked[0]
