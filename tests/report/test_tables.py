"""Tables read back by other readers hold the Summary's numbers."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report import tables
from bench.results.csv_text import csv_text
from bench.results.summary import Claim, Summary


def test_csv_reads_back_in_full(summary: Summary) -> None:
    rows = list(csv.DictReader(io.StringIO(tables.results_csv(summary))))
    assert len(rows) == sum(len(c.metrics) for c in summary.contestants)
    for row in rows:
        value = summary.contestant(row["contestant"]).metrics[row["metric"]]
        assert (float(row["value"]), float(row["low"])) == (value.value, value.low)
    lines = list(csv.DictReader(io.StringIO(tables.comparisons_csv(summary))))
    assert [float(line["delta"]) for line in lines] == [r.delta for r in summary.comparisons]


def test_claims_are_written_where_there_are_any(summary: Summary, tmp_path: Path) -> None:
    claim = Claim("a is better | than b", "undecided", "few", 1, metric="clip", delta=0.5, low=-1.0,
                  high=2.0, p_adjusted=0.25)  # fmt: skip
    tables.write(replace(summary, claims=[claim]), tmp_path)
    line = (tmp_path / "tables/claims.md").read_text().splitlines()[2]
    assert line.startswith("| a is better \\| than b | undecided (one training) | ")
    assert "adjusted p 0.25" in line
    row = next(csv.DictReader((tmp_path / "tables/claims.csv").open()))
    assert (row["verdict"], float(row["low"]), row["margin"]) == ("undecided", -1.0, "")


def test_costs_read_back(summary: Summary) -> None:
    trained = {c.name: c.training for c in summary.contestants if c.training is not None}
    costs = list(csv.DictReader(io.StringIO(tables.trainings_csv(summary))))
    assert trained
    assert {c["contestant"]: int(c["images_seen"]) for c in costs} == {
        name: training.images_seen for name, training in trained.items()
    }


def test_a_name_is_no_formula(summary: Summary) -> None:
    first = replace(summary.contestants[0], name='=HYPERLINK("x")')
    text = tables.results_csv(replace(summary, contestants=[first], comparisons=[]))
    row = next(csv.DictReader(io.StringIO(text)))
    assert row["contestant"] == '\'=HYPERLINK("x")'


CELL = st.text(st.sampled_from("='+-@\"\t,;\r\n\u2028a") | st.characters(exclude_categories=["Cs"]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CELL, min_size=2, max_size=2), max_size=4))
def test_any_text_comes_back_out_of_a_csv(rows: list[list[str]]) -> None:
    """A leading apostrophe is the guard against formulas."""
    written = csv_text(["a", "b"], rows)
    _, *found = csv.reader(io.StringIO(written, newline=""))
    assert [[cell.removeprefix("'") for cell in row] for row in found] == rows
    assert not any(cell[:1] in tuple("=+-@\t\r") for row in found for cell in row)


def test_markdown_has_a_cell_for_everything(summary: Summary) -> None:
    lines = [li for li in tables.markdown(summary).splitlines() if li.startswith("|")]
    assert {li.count("|") for li in lines} == {len(summary.metric_names()) + 3}
    assert len(lines) == len(summary.contestants) + 2
    best = next(li for li in lines if li.startswith("| tscd-1step"))
    assert best.count("**") == 2 * 6


def test_latex_is_balanced_and_escaped(summary: Summary) -> None:
    first = replace(summary.contestants[0], name="50%_a & b\\input{x}")
    text = tables.latex(replace(summary, contestants=[first, *summary.contestants[1:]]))
    assert r"50\%\_a \& b\textbackslash{}input\{x\} &" in text
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    rows = [li for li in text.splitlines() if li.endswith(r"\\")]
    separators = {len(re.findall(r"(?<!\\)&", row)) for row in rows}
    assert separators == {len(summary.metric_names()) + 1}
    assert "_" not in re.sub(r"\\_", "", text)


def test_written_files(summary: Summary, tmp_path: Path) -> None:
    written = tables.write(summary, tmp_path)
    names = [
        "comparisons.csv",
        "model-index.yaml",
        "results.csv",
        "results.md",
        "results.tex",
        "trainings.csv",
    ]
    assert sorted(path.name for path in written) == names
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == names
    with pytest.raises(OSError, match="Not a directory"):
        tables.write(summary, tmp_path / "tables" / "results.md")
