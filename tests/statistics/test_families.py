"""What a suite asks for is adjusted apart from what it does not."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.errors import UsageError
from bench.report import view
from bench.report.findings import findings, leader
from bench.results.summary import Comparison, Contestant, MetricValue, Summary
from bench.statistics.comparisons import Scored, compare, sensitivity
from bench.statistics.families import Primary
from bench.statistics.intervals import holm
from bench.statistics.result import mean_result
from bench.suite import suite

G = 300
METHODS = ("a", "b", "c", "teacher")
ASKED = (Primary(of=("a",), metrics=("clip",)),)


def field() -> list[Scored]:
    """a is a fifth of a point ahead of b, b of c, on both metrics."""
    rng = np.random.default_rng(0)
    common, made = rng.normal(size=G), []
    for i, method in enumerate(METHODS):
        results = {
            metric: mean_result(common - 0.2 * i + 0.5 * rng.normal(size=G), range(G))
            for metric in ("clip", "hps")
        }
        metrics = {
            name: MetricValue(r.value, r.low, r.high, G, name, True, "no", error=r.error)
            for name, r in results.items()
        }
        steps = 25 if method == "teacher" else 1
        row = Contestant(f"{method}-{steps}step", method, steps, 1, method, G, [0], "x",
                         metrics=metrics)  # fmt: skip
        made.append(Scored(row, results))
    return made


def named(rows: list[Comparison], family: str) -> dict[tuple[str, str, str], Comparison]:
    return {(r.a[0], r.b[0], r.metric): r for r in rows if r.family == family}


def test_a_family_is_what_the_suite_names() -> None:
    rows = compare(field(), primary=ASKED)
    assert set(named(rows, "primary")) == {("a", "b", "clip"), ("a", "c", "clip")}
    assert ("a", "t", "clip") in named(rows, "exploratory")
    assert {r.family for r in compare(field())} == {"primary"}
    pair = (Primary(of=("c",), against=("a", "teacher"), metrics=("hps",), steps=(1,)),)
    asked = named(compare(field(), primary=pair), "primary")
    assert set(asked) == {("a", "c", "hps"), ("c", "t", "hps")}


def test_holm_is_over_the_primary_ones_and_the_rest_has_a_false_discovery_rate() -> None:
    rows = compare(field(), primary=ASKED)
    asked, rest = ([r for r in rows if r.family == f] for f in ("primary", "exploratory"))
    assert [r.p_adjusted for r in asked] == pytest.approx(holm([r.p for r in asked]).tolist())
    theirs = stats.false_discovery_control([r.p for r in rest])
    assert [r.p_adjusted for r in rest] == pytest.approx(theirs.tolist())


def test_what_could_have_been_found_is_what_the_page_tests() -> None:
    """The difference that one test of many finds with 80 %, not the only one's."""
    rows = compare(field(), {"clip": 0.05}, primary=ASKED)
    known = sensitivity(rows)["clip"]
    assert known.tests == 2 and known.detectable_adjusted is not None
    typical = next(r for r in rows if r.detectable == known.detectable)
    assert typical.error is not None
    z = NormalDist()
    reached = known.detectable_adjusted / typical.error - z.inv_cdf(1 - 0.05 / 2 / known.tests)
    assert z.cdf(reached) == pytest.approx(0.8)
    everything = sensitivity(compare(field(), {"clip": 0.05}))["clip"]
    assert everything.tests == 12
    assert everything.detectable_adjusted is not None
    assert everything.detectable_adjusted > known.detectable_adjusted > known.detectable
    said = dict(view.sensitivities(page(rows)))["CLIP"]
    assert "as one of 2 comparisons (" in said and "as the only one)" in said


def page(rows: list[Comparison]) -> Summary:
    return Summary("s", "p", {}, {}, [s.contestant for s in field()], rows,
                   sensitivity=sensitivity(rows))  # fmt: skip


def test_a_page_marks_what_the_suite_did_not_ask_for() -> None:
    summary = page(compare(field(), primary=ASKED))
    rivals = [c for c in summary.contestants if c.steps == 1]
    assert leader(summary, rivals, "clip") == "a-1step"
    assert leader(summary, rivals, "hps") is None
    assert leader(summary, rivals, "hps", ("primary", "exploratory")) == "a-1step"
    part = findings(summary)[0]
    assert part.sentence.startswith("a-1step is best on CLIP and, exploratory, on HPS; ")
    assert part.pairs.asked[0].startswith("a-1step is better than b-1step on CLIP by")
    assert any("b-1step is better than c-1step" in one for one in part.pairs.exploratory)
    assert "over the 2 comparisons that the suite asks for" in view.family_words(summary)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([{"of": "a"}], r"primary\[0\]: key 'metrics' is missing"),
        ([{"of": "a", "metrics": ["clop"]}], "did you mean 'clip'"),
        ([{"off": "a", "metrics": "clip"}], "did you mean 'of'"),
        ("all", "primary=all: must be a list"),
    ],
)
def test_a_faulty_primary_comparison_is_one_line(value: Any, said: str) -> None:
    values = {"title": "t", "version": 1, "steps": [1], "metrics": ["clip"],
              "prompts": {"set": "own"}, "contestants": {"real": {}}}  # fmt: skip
    with pytest.raises(UsageError, match=said):
        suite.read("s", {**values, "primary": value})
