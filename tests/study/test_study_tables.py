"""The study in the PDF, and its votes as a table to publish: figures can be made again from it."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.report import pdf
from bench.report.runfiles import read
from bench.results import summary
from bench.study import sections, votes_csv
from bench.study.desk import Desk
from bench.study.simulated_raters import run as let_vote
from bench.study.store import VoteStore

PEOPLE = ("Ana <i>", "Ben", "Cid Straße")


def vote(desk: Desk, name: str, votes: int, rng: np.random.Generator) -> None:
    """Somebody who votes at random, checks included, but for the last one, who is careful."""
    rater = desk.store.rater(name)
    for _ in range(votes):
        trial = desk.queue(rater, 1)[0]
        choice = ("left", "right", "tie", "both_bad")[int(rng.integers(4))]
        if trial.kind == "check" and name == PEOPLE[-1]:
            choice = "right" if trial.flipped else "left"
        desk.store.vote(rater, trial.id, choice, 2.0)


@pytest.fixture
def voted(desk: Desk, store: VoteStore, run: Path) -> Path:
    """A run with votes of three people, and of a simulated panel."""
    rng = np.random.default_rng(4)
    for name in PEOPLE:
        vote(desk, name, 40, rng)
    let_vote(desk, votes=12, raters=3)
    return run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_shares_of_the_report_can_be_counted_from_the_votes(
    voted: Path, tmp_path: Path
) -> None:
    people, simulated = votes_csv.write(voted, tmp_path)
    assert (people.name, simulated.name) == ("votes.csv", "votes_simulated.csv")
    found = sections.study_section(voted)
    assert found is not None
    for path, panel in zip((people, simulated), found.panels, strict=True):
        table = rows(path)
        counted: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row in table:
            assert row["simulated"] == str(int(panel.simulated))
            if row["counts"] == "1":
                worth = {"a": 1.0, "b": 0.0}.get(row["vote"], 0.5)
                counted[row["a"], row["b"]].append(worth)
        assert len(table) == sum(line.votes + line.checks for line in panel.raters)
        assert {row["kind"] for row in table if row["counts"] == "0"} >= {"check"}
        for pair in panel.pairs:
            theirs = counted.get((pair.a, pair.b), [])
            assert len(theirs) == pair.votes
            assert pair.share is None or np.mean(theirs) == pytest.approx(pair.share)


def test_raters_go_by_pseudonyms_that_stay(voted: Path, store: VoteStore, tmp_path: Path) -> None:
    (people, _) = votes_csv.write(voted, tmp_path)
    text = people.read_text(encoding="utf-8")
    assert not [name for name in PEOPLE if name.split()[0] in text]
    assert (
        not [v.rater.key for v in store.votes() if v.rater.key in text] and store.secret not in text
    )
    names = {row["rater"] for row in rows(people)}
    assert len(names) == 3 and all(re.fullmatch("rater-[0-9a-f]{8}", name) for name in names)
    assert {row["rater"] for row in rows(votes_csv.write(voted, tmp_path)[0])} == names


def test_a_run_without_a_study_has_no_votes(run: Path, tmp_path: Path) -> None:
    assert votes_csv.write(run, tmp_path) == []
    assert list(tmp_path.glob("tables/*")) == []


def test_the_pdf_holds_the_study_and_marks_what_is_simulated(voted: Path, tmp_path: Path) -> None:
    pdfium = pytest.importorskip("pypdfium2")
    result = summary.read(voted / "result.json")
    with pdfium.PdfDocument(pdf.render(result, tmp_path, read(result, voted, tmp_path))) as opened:
        pages = [page.get_textpage().get_text_bounded() for page in opened]
    text = " ".join(" ".join(pages).split())
    found = sections.study_section(voted)
    assert found is not None and "Preference study" in text
    people, simulated = text.split("Simulated panel", 1)
    people = people[people.index("Preference study") :]
    assert "imulated" not in people and "Ana <i>" in people and "Cid Straße" in people
    assert "Simulated, not people" in simulated and "simulated votes" in simulated
    for part, panel in zip((people, simulated), found.panels, strict=True):
        for line in panel.strengths:
            shown = f"{round(line.value, 2) + 0.0:.2f}"  # no minus before 0.00
            assert shown.replace("-", "\u2212") in part, line
        for line in panel.pairs:
            assert f"{line.votes} {line.a_wins} {line.ties} {line.both_bad} {line.b_wins}" in part


def test_figures_are_text_too(voted: Path, study_on_page: Callable[[Path], str]) -> None:
    """What the drawings show is in their labels and in tables: a screen reader needs no title."""
    text = study_on_page(voted)
    found = sections.study_section(voted)
    assert found is not None
    labels = re.findall(r'<svg [^>]*aria-label="([^"]*)"', text)
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    for i, panel in enumerate(found.panels):
        bars, ladder = labels[2 * i : 2 * i + 2]
        assert ("(simulated)" in bars, "(simulated)" in ladder) == (panel.simulated,) * 2
        for line in panel.strengths:
            value = f"{line.value:.2f}".replace("-", "\u2212")
            assert f"{line.name} {value} [" in ladder
            assert any(f">{value}</td>" in table for table in tables)
        for pair in panel.pairs:
            assert not pair.votes or f"{pair.a} preferred to {pair.b}: " in bars
