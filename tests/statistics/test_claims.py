"""Claims about methods over training seeds: the interval against scipy, and the verdicts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.errors import UsageError
from bench.report import tables, view
from bench.results.summary import Claim, Contestant, MetricValue, Summary, to_json
from bench.statistics.claims import Stated, claim_verdicts
from bench.statistics.comparisons import Scored
from bench.statistics.intervals import bootstrap_interval
from bench.statistics.method_difference import (
    MethodDifference,
    hierarchical_bootstrap,
    method_difference,
)
from bench.statistics.over_trainings import over_trainings
from bench.statistics.result import mean_result
from bench.statistics.trainings_needed import power
from bench.suite import suite
from hypersd import validation

G = 200
SUITE = {"title": "t", "version": 1, "steps": [1], "metrics": ["clip"],
         "prompts": {"set": "own"}, "contestants": {"real": {}}}  # fmt: skip


def test_one_training_each_is_the_paired_t_interval() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.gamma(2.0, 1.0, (2, 60))
    d = method_difference([x], [y])
    theirs = stats.ttest_rel(x, y)
    interval = theirs.confidence_interval()
    assert (d.low, d.high) == pytest.approx((interval.low, interval.high))
    assert 2 * min(d.p_above(0.0), d.p_below(0.0)) == pytest.approx(theirs.pvalue)


def test_trainings_that_differ_by_a_constant_are_welchs_test() -> None:
    """No noise of prompts is left, so only the trainings' spread counts."""
    a, b = np.array([1.0, 1.3, 0.8]), np.array([0.2, 0.9, 0.4, 0.1])
    prompts = np.random.default_rng(0).normal(size=50)
    d = method_difference(a[:, None] + prompts, b[:, None] + prompts)
    theirs = stats.ttest_ind(a, b, equal_var=False)
    interval = theirs.confidence_interval()
    assert d.trainings[1] == pytest.approx(theirs.df)
    assert 2 * d.p_above(0.0) == pytest.approx(theirs.pvalue, rel=1e-6)
    assert d.p_above(0.0) + d.p_below(0.0) == pytest.approx(1.0)
    assert (d.low, d.high) == pytest.approx((interval.low, interval.high))


def test_two_trainings_against_one_have_a_p_however_far_apart() -> None:
    """One degree of freedom: the interval is as wide as 12.7 standard errors."""
    d = method_difference(np.array([[100.0], [100.1]]) + np.zeros(40), np.zeros((1, 40)))
    assert 2 * d.p_above(0.0) == pytest.approx(2 * stats.t.sf(100.05 / 0.05, df=1), rel=1e-6)


def test_p_is_had_whatever_the_degrees_of_freedom() -> None:
    """scipy's quantiles are infinite far out where these are no whole number."""
    for freedom in (1.0, 1.05, 2.3, 2.8, 3.1, 7.7):
        d = MethodDifference(2.0, 1.0, 3.0, (0.01, freedom), (0.0, 9.0), (3, 3))
        assert d.p_above(0.0) == pytest.approx(stats.t.sf(20.0, freedom), rel=1e-6)
        far = replace(d, delta=1e60)
        assert 0.0 <= far.p_above(0.0) < 1e-40


def test_other_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="same prompts"):
        method_difference(np.zeros((3, 5)), np.zeros((3, 6)))


def scored(name: str, method: str, steps: int, level: float) -> Scored:
    common = np.random.default_rng(1).normal(size=G)
    own = np.random.default_rng(list(name.encode())).normal(size=G)
    result = mean_result(level + common + 0.3 * own, range(G))
    value = MetricValue(result.value, result.low, result.high, G, "clip/1", True, "no")
    row = Contestant(name, method, steps, steps, f"id {name}", G, [0], "x", metrics={"clip": value})
    return Scored(row, {"clip": result})


def trainings(method: str, steps: int, levels: list[float]) -> list[Scored]:
    return [scored(f"{method}{i}-{steps}step", method, steps, v) for i, v in enumerate(levels)]


def stated(*claims: dict[str, Any]) -> list[Stated]:
    return validation.read(list[Stated], claims, "claims")


def judged(field: list[Scored], margin: float = 0.3, **claim: Any) -> Claim:
    found = claim_verdicts(stated({"metric": "clip", **claim}), field, {"clip": margin})
    assert len(found) == 1
    return found[0]


def field() -> list[Scored]:
    return [
        *trainings("a", 4, [1.0, 1.1, 0.9]),
        *trainings("b", 4, [0.0, 0.1, -0.1]),
        *trainings("c", 4, [1.05, 0.9, 1.1]),
        *trainings("wide", 4, [1.6, 0.2, 1.5]),
        *trainings("few", 4, [5.0, 5.1]),
        scored("teacher-25step", "teacher", 25, 1.0),
    ]


@pytest.mark.parametrize(
    ("a", "relation", "b", "verdict"),
    [
        ("a", "better", "b", "holds"),
        ("b", "better", "a", "the opposite is shown"),
        ("a", "better", "c", "equivalent"),
        ("a", "better", "wide", "not shown"),
        ("a", "equivalent", "c", "holds"),
        ("a", "equivalent", "b", "the opposite is shown"),
        ("a", "equivalent", "wide", "not shown"),
        ("a", "not_worse", "teacher", "holds"),
        ("b", "not_worse", "teacher", "the opposite is shown"),
        ("wide", "not_worse", "a", "not shown"),
        ("few", "better", "b", "undecided"),
    ],
)
def test_verdicts(a: str, relation: str, b: str, verdict: str) -> None:
    found = judged(field(), a=a, **{"is": relation, "than": b})
    assert found.verdict == verdict, found
    assert found.steps == 4


def test_two_trainings_are_too_few_and_that_is_said() -> None:
    found = judged(field(), a="few", **{"is": "better", "than": "b"})
    assert found.training_seeds == 2
    assert "needs at least 3" in found.why
    assert found.delta == pytest.approx(5.05, abs=0.1)


def test_one_training_is_undecided_however_clear_the_prompts_are() -> None:
    field_of_one = [scored("one-4step", "one", 4, 9.0), *trainings("b", 4, [0.0, 0.1, -0.1])]
    found = judged(field_of_one, a="one", **{"is": "better", "than": "b"})
    assert (found.verdict, found.words) == ("undecided", "undecided (one training)")
    assert found.why.startswith("one training;")
    few = judged(field(), a="few", **{"is": "better", "than": "b"})
    assert few.words == "undecided (2 trainings)"
    assert judged(field(), a="a", **{"is": "better", "than": "b"}).words == "holds"


def test_claims_of_one_training_cost_the_others_nothing() -> None:
    """Holm's family is that of the claims that can be decided."""
    alone = judged(field(), a="a", **{"is": "better", "than": "b"})
    made = stated(*({"a": a, "is": "better", "than": "b", "metric": "clip"} for a in ("few", "a")))
    few, both = claim_verdicts(made, field())
    assert both.p_adjusted == alone.p_adjusted == alone.p
    assert few.p is not None and few.p_adjusted is not None and few.p_adjusted >= few.p


def null_suite(rng: np.random.Generator, claims: int) -> list[Claim]:
    """Verdicts of a suite whose methods are all the same: three trainings each, spread by 0.3."""
    made = []
    for method in range(claims + 1):
        for training in range(3):
            scores = 0.3 * rng.normal() + rng.normal(size=30)
            one = mean_result(scores, range(30))
            value = MetricValue(one.value, one.low, one.high, 30, "clip/1", True, "no")
            name = f"m{method}-{training}"
            row = Contestant(name, f"m{method}", 1, 1, name, 30, [0], "x", metrics={"clip": value})
            made.append(Scored(row, {"clip": one}))
    said = ({"a": f"m{i + 1}", "is": "better", "than": f"m{i}", "metric": "clip"}
            for i in range(claims))  # fmt: skip
    return claim_verdicts(stated(*said), made, {"clip": 0.01})


def false_verdicts(suites: int, claims: int = 17) -> dict[str, float]:
    """Share of suites of true nulls with at least one verdict of a kind; "an interval beside 0" is
    how the opposite was judged before."""
    rng, found = np.random.default_rng(17), []
    for _ in range(suites):
        made = null_suite(rng, claims)
        said = {claim.verdict for claim in made}
        beside = any(claim.high is not None and claim.high < 0 for claim in made)
        found.append(["holds" in said, "the opposite is shown" in said, beside])
    names = ("holds", "the opposite is shown", "an interval beside 0")
    return dict(zip(names, np.mean(found, axis=0).tolist(), strict=True))


def test_the_opposite_is_adjusted_as_the_claim_is() -> None:
    found = false_verdicts(40)
    assert found["an interval beside 0"] > 0.15
    assert found["holds"] <= 0.1 and found["the opposite is shown"] <= 0.1


@pytest.mark.slow
def test_false_verdicts_as_documented() -> None:
    found = false_verdicts(400)
    print(found)
    assert found["an interval beside 0"] > 0.25
    assert found["holds"] <= 0.05 and found["the opposite is shown"] <= 0.05


def test_an_open_claim_says_how_many_trainings_would_decide_it() -> None:
    found = judged(field(), a="wide", **{"is": "better", "than": "b"})
    assert found.verdict == "not shown"
    assert found.trainings_needed is not None and 3 < found.trainings_needed <= 30
    assert f"about {found.trainings_needed} trainings of either side would" in found.why
    assert judged(field(), a="a", **{"is": "better", "than": "b"}).trainings_needed is None


def test_a_difference_that_is_shown_and_does_not_matter_is_called_so() -> None:
    found = judged(field(), margin=3.0, a="a", **{"is": "better", "than": "b"})
    assert found.verdict == "holds" and "less than 3, the smallest that matters" in found.why
    assert "the smallest" not in judged(field(), a="a", **{"is": "better", "than": "b"}).why


def test_many_trainings_mean_that_equivalence_is_the_question() -> None:
    found = judged(field(), margin=1.0, a="wide", **{"is": "better", "than": "a"})
    assert found.trainings_needed is None or found.trainings_needed > 30
    assert "test equivalence within 1 instead, which would take about" in found.why


def test_as_one_of_many_claims_more_trainings_are_needed() -> None:
    made = stated(*({"a": a, "is": "better", "than": "b", "metric": "clip"} for a in "ac"),
                  {"a": "wide", "is": "better", "than": "b", "metric": "clip"})  # fmt: skip
    found = claim_verdicts(made, field())[-1]
    assert found.trainings_needed is not None and found.trainings_needed_adjusted is not None
    assert found.trainings_needed_adjusted > found.trainings_needed
    assert f"{found.trainings_needed_adjusted} as one of 3 claims" in found.why


@pytest.mark.parametrize(("trainings", "found"), [(3, 0.67), (5, 0.98)])
def test_power_of_so_many_trainings_is_that_of_simulated_ones(trainings: int, found: float) -> None:
    """Of a difference of three between-training deviations."""
    rng, shown = np.random.default_rng(trainings), []
    for _ in range(300):
        x, y = rng.normal(size=(2, trainings, 1)) + np.zeros(4)
        shown.append(method_difference(x + 3.0, y).low > 0)
    d = MethodDifference(3.0, 0.0, 6.0, (2 / 3, 4.0), (0.0, 3.0), (3, 3), (1.0, 1.0))
    assert np.mean(shown) == pytest.approx(found, abs=0.08)
    assert power(d, trainings, 3.0, 0.025) == pytest.approx(found, abs=0.05)


def test_a_row_with_several_trainings_has_their_mean_interval_and_range() -> None:
    """Lightning's FID in one step was 28.5, 47.9 and 38.7, and printed as 28.5 +- 1.5."""
    one, *others = trainings("a", 4, [28.5, 47.9, 38.7])
    alone = scored("b-4step", "b", 4, 1.0)
    made = over_trainings([one, alone], others)
    assert set(made) == {"a0-4step"}
    found = made[one.contestant.name]["clip"]
    assert found.mean == pytest.approx(38.4, abs=0.2)
    assert (min(found.values), max(found.values)) == pytest.approx((28.5, 47.9), abs=0.2)
    theirs = stats.t.interval(0.95, 2, np.mean(found.values), stats.sem(found.values))
    assert (found.low, found.high) == pytest.approx(theirs, rel=0.05)
    assert over_trainings([one, alone], others[:1]) == {}
    summary = Summary("s", "p", {}, {}, [one.contestant, alone.contestant], over_trainings=made)
    cells = [row.cells[0] for _, rows in view.table(summary) for row in rows]
    assert cells[0] is not None and cells[0].trainings.startswith("3 trainings, 28")
    assert cells[1] is not None and cells[1].trainings == ""
    assert "(3 trainings, 28" in tables.markdown(summary)


def test_the_hierarchical_bootstrap_draws_trainings_and_prompts() -> None:
    """Of one training each it is the bootstrap over prompts. Where prompts do not differ only the
    trainings are drawn: of 27 draws of three, one is the lowest thrice and one the highest."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 300))
    assert hierarchical_bootstrap([x], [y]) == pytest.approx(bootstrap_interval(x - y))
    levels = np.array([1.0, 1.3, 0.8])
    low, high = hierarchical_bootstrap(levels[:, None] + np.zeros(50), np.zeros((1, 50)))
    assert (low, high) == (pytest.approx(0.8), pytest.approx(1.3))
    wide = method_difference(levels[:, None] + np.zeros(50), np.zeros((1, 50)))
    assert wide.low < low and high < wide.high


def test_the_same_training_twice_counts_once() -> None:
    one = scored("a-4step", "a", 4, 1.0)
    copies = [one, Scored(one.contestant, one.results), one]
    found = judged(
        [*copies, *trainings("b", 4, [0, 0, 0.1])], a="a", **{"is": "better", "than": "b"}
    )
    assert found.training_seeds == 1


def test_a_claim_without_steps_is_made_where_both_are() -> None:
    both = [*field(), *trainings("a", 1, [1, 1, 1.1]), *trainings("b", 1, [0, 0, 0.1])]
    made = stated({"a": "a", "is": "better", "than": "b", "metric": "clip"})
    found = claim_verdicts(made, both)
    assert [claim.steps for claim in found] == [1, 4]
    assert found[1].text == "a is better than b on clip at 4 steps"
    assert all(c.p is not None and c.p_adjusted is not None for c in found)
    assert all(c.p_adjusted >= c.p for c in found if c.p and c.p_adjusted)


def test_a_claim_that_cannot_be_tested_says_why() -> None:
    found = judged(field(), a="nobody", **{"is": "better", "than": "b"})
    assert (found.verdict, found.p) == ("undecided", None)
    assert "nobody" in found.why


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("fast", "claims=fast: must be a list"),
        ([{"a": "x"}], r"claims\[0\]: key 'is' is missing"),
        ([{"a": "x", "is": "beter", "than": "y", "metric": "clip"}], "did you mean 'better'"),
        ([{"a": "x", "is": "better", "than": "y", "metric": "hps"}], "metric=hps"),
        ([{"a": "x", "is": "better", "then": "y", "metric": "clip"}], "did you mean 'than'"),
    ],
)
def test_a_faulty_claim_is_one_line(value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        suite.read("s", {**SUITE, "claims": value})


def claim(a: str, relation: str, b: str, about: str) -> Stated:
    given = {"a": a, "is": relation, "than": b, "metric": "clip", "about": about}
    return stated(given)[0]


def test_a_claim_about_weights_is_the_paired_t_over_prompts() -> None:
    """One contestant of either side decides it: non-inferiority, against scipy's one-sided t."""
    rows = [scored("tcd", "tcd", 1, 10.0), scored("tcd_fp8", "tcd_fp8", 1, 9.98)]
    stated = [
        claim("tcd_fp8", relation, "tcd", "weights")
        for relation in ("not_worse", "better", "equivalent")
    ]
    found = claim_verdicts(stated, rows, {"clip": 0.2})
    x, y = (row.results["clip"].by_prompt for row in reversed(rows))
    theirs = stats.ttest_1samp(x - y, -0.2, alternative="greater")
    assert found[0].p == pytest.approx(theirs.pvalue)
    assert [one.verdict for one in found] == ["holds", "equivalent", "holds"]
    assert all("over the prompts, of these weights" in one.why for one in found)
    assert [one.words for one in found] == [one.verdict for one in found]


def test_an_open_claim_about_weights_says_how_many_prompts_would_decide_it() -> None:
    rows = [scored("a", "a", 1, 10.0), scored("b", "b", 1, 10.0)]
    (found,) = claim_verdicts([claim("a", "better", "b", "weights")], rows, {"clip": 1e-6})
    x, y = (row.results["clip"].by_prompt for row in rows)
    d, s = abs(float((x - y).mean())), float((x - y).std(ddof=1))
    assert found.verdict == "not shown"
    needed = math.ceil(((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * s / d) ** 2)
    assert f"about {needed:,} prompts would decide it" in found.why


def test_further_trainings_do_not_speak_for_these_weights() -> None:
    rows = [scored("a", "a", 1, 10.0), scored("b", "b", 1, 5.0)]
    others = [scored(f"a{i}", "a", 1, 1.0) for i in (1, 2)]
    others += [scored(f"b{i}", "b", 1, 5.0) for i in (1, 2)]
    claims = [claim("a", "better", "b", about) for about in ("weights", "methods")]
    of_weights, of_methods = claim_verdicts(claims, rows, None, others)
    assert of_weights.delta == pytest.approx(5, abs=0.2) and of_weights.verdict == "holds"
    assert of_methods.training_seeds == 3 and of_methods.delta == pytest.approx(-1, abs=0.2)
    (twice,) = claim_verdicts(claims[:1], [*rows, others[0]])
    assert twice.verdict == "undecided" and "is several contestants" in twice.why


def test_a_result_of_claims_about_methods_is_written_as_before() -> None:
    methods, weights = (Claim("x", "holds", "", 3, about=about) for about in ("methods", "weights"))
    made = to_json(Summary("s", "", {}, {}, [], claims=[methods, weights]))
    assert [one.get("about") for one in made["claims"]] == [None, "weights"]
