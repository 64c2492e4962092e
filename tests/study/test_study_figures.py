"""From votes to the report, and a simulated panel whose truth is known."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.report import html
from bench.results import summary
from bench.study import sections
from bench.study.analysis import _example, _judged, _pair, panel, panels
from bench.study.desk import Desk
from bench.study.material import Material
from bench.study.shares import Share
from bench.study.simulated_raters import run as let_vote
from bench.study.simulated_raters import truth, utilities
from bench.study.store import VoteStore

WORTH = ("lcm-1step", "tcd-1step", "tscd-1step", "teacher-25step", "real")


def vote(desk: Desk, name: str, votes: int) -> None:
    """A person who prefers the later one of WORTH."""
    rater = desk.store.rater(name)
    for _ in range(votes):
        trial = desk.queue(rater, 1)[0]
        left, right = (WORTH.index(n) if n in WORTH else -1 for n in trial.sides)
        choice = "left" if left > right else "right"
        desk.store.vote(rater, trial.id, choice, 2.0)


def test_shares_are_counts(desk: Desk, store: VoteStore, material: Material) -> None:
    for name in ("Ana", "Ben", "Cid"):
        vote(desk, name, 40)
    (found,) = panels(material, store)
    assert not found.simulated and found.votes == 3 * 36
    for line in found.pairs:
        assert line.share == 0.0 and line.b_wins == line.votes and line.low < 1e-9
    assert [line.name for line in found.strengths] == list(reversed(WORTH[:4]))
    assert found.agreement is not None and found.agreement.same == 1.0


def test_who_fails_the_checks_is_shown_and_left_out(
    desk: Desk, store: VoteStore, material: Material
) -> None:
    vote(desk, "Ana", 40)
    votes = store.votes()
    assert panel(material, votes, {}).votes == 36
    # Answer every check, and nothing else, the other way round.
    other = {"left": "right", "right": "left"}
    wrong = [replace(v, choice=other[v.choice]) if v.trial.kind == "check" else v for v in votes]
    found = panel(material, wrong, {})
    assert found.votes == 0 and found.strengths == []
    (line,) = found.raters
    assert line.left_out and (line.passed, line.checks, line.votes) == (0, 4, 36)


def test_ties_count_half_and_order_does_not_matter(
    desk: Desk, store: VoteStore, material: Material
) -> None:
    vote(desk, "Ana", 40)
    tied = [replace(v, choice="tie") for v in store.votes() if v.trial.kind != "check"]
    found = panel(material, tied, {})
    assert {line.share for line in found.pairs} == {0.5}
    assert [line.value for line in found.strengths] == pytest.approx([0.0] * 4, abs=1e-6)
    assert all(line.preferred is None and line.needed is None for line in found.pairs)


def test_the_truth_of_a_panel_follows_its_utilities(material: Material) -> None:
    worth = utilities(material)
    assert len(worth) == 4 * 8
    found = truth(material, worth)
    assert sorted(found.strengths, key=found.strengths.__getitem__) == list(WORTH[:4])
    same = truth(material, dict.fromkeys(worth, 0.0))
    assert list(same.shares.values()) == pytest.approx([0.5] * 6, abs=0.01)


def test_a_simulated_panel_is_marked_and_kept_apart(
    desk: Desk, store: VoteStore, run: Path, study_on_page: Callable[[Path], str]
) -> None:
    added = let_vote(desk, votes=30, raters=8)
    assert added == 240 and let_vote(desk, votes=30, raters=8) == 0
    people_before = sections.study_section(run)
    assert people_before is not None and [p.simulated for p in people_before.panels] == [True]
    vote(desk, "Ana", 20)
    found = sections.study_section(run)
    assert found is not None
    people, panel_ = found.panels
    assert not people.simulated and people.votes == 18 and panel_.simulated
    out = [line.name for line in panel_.raters if line.left_out]
    assert out in ([], ["simulated 08"])  # the careless one, unless luck was with it
    held = [line.low <= (line.known or 9) <= line.high for line in panel_.strengths]
    assert sum(held) >= 2
    text = study_on_page(run)
    simulated = text[text.index("<h3>Simulated panel") :]
    assert "Simulated, not people" in simulated and "simulated votes of" in simulated
    assert "imulated" not in text[: text.index("<h3>Simulated panel")]


def test_the_report_holds_the_study(desk: Desk, store: VoteStore, run: Path) -> None:
    found = summary.read(run / "result.json")
    assert 'id="study"' not in html.page(found, run)
    for name in ("Ana <i>", "Ben", "Cid", "Dan"):
        vote(desk, name, 48)
    text = html.page(found, run)
    assert 'id="study"' in text and "Ana &lt;i&gt;" in text and "Ana <i>" not in text
    assert "is preferred to" in text
    shown = re.search(r"teacher-25step is preferred to lcm-1step: (\d+) %", text)
    assert shown is not None and int(shown[1]) == 100


def test_votes_still_needed_are_those_of_a_power_analysis() -> None:
    """Every rater once, on their own prompt: the textbook's sample size for a share."""
    from scipy.stats import norm

    effect, family = 1.0, 6
    reach = norm.ppf(1 - 0.05 / 2 / family) + norm.ppf(0.8)
    assert _example(effect, family) == pytest.approx(0.25 * (reach / 0.1) ** 2, abs=1)
    few = Share(0.6, 1 / 100, (), ())
    line = _judged(_pair(("a", "b"), ["a"] * 60 + ["b"] * 40, few, None), few, 0.3, family)
    assert line.needed == pytest.approx(0.25 * (reach / 0.1) ** 2 - 100, abs=1)
