"""More steps in page, PDF and tables: read back by other readers; old results have none of it."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.report import html, pdf, step_response, tables
from bench.results import summary as summaries
from bench.results.summary import StepResponse, Summary

ROWS = [
    StepResponse("tcd", "clip", 1, 2, 1.25, 0.5, 2.0, 1.0, 1e-6, 1.0, 300, "not worse"),
    StepResponse("tcd", "clip", 2, 4, 0.25, -0.25, 0.75, 1.0, 1e-5, 1.0, 300, "not worse"),
    StepResponse("lcm", "clip", 1, 2, 0.5, 0.0, 1.0, 1.0, 1e-6, 1.0, 300, "not worse"),
    StepResponse("lcm", "fid", 1, 2, 4.0, 3.0, 5.0, 1.5, 1.0, 1e-4, 300, "worse"),
    StepResponse("<b>", "faithful", 4, 8, -0.015, -0.035, 0.005, 0.02, 0.3, 0.9, 300, "not shown"),
]


@pytest.fixture
def doubled(example_summary: Callable[..., Summary]) -> Summary:
    return replace(example_summary((1, 2)), step_response=ROWS)


def test_a_sentence_for_each_contestant(doubled: Summary) -> None:
    assert step_response.sentences(doubled) == [
        "tcd: never worse with more steps by the margin, from 1 to 4 steps, on CLIP",
        "lcm: more steps are worse, FID 1 \N{RIGHTWARDS ARROW} 2",
        "<b>: from 4 to 8 steps no loss is shown, but on Faithful 4 \N{RIGHTWARDS ARROW} 8 none is "
        "ruled out",
    ]


def test_the_page_has_the_sentences_and_every_doubling(doubled: Summary, tmp_path: Path) -> None:
    page = html.page(doubled, tmp_path)
    assert "Do more steps ever cost quality?" in page and '<a href="#step-response">' in page
    assert "lcm: more steps are worse, FID 1 \N{RIGHTWARDS ARROW} 2." in page
    assert "&lt;b&gt;: from 4 to" in page and "<b>: from 4 to" not in page
    assert page.count("<td>not worse</td>") == 3
    assert "step-response" not in html.page(replace(doubled, step_response=[]), tmp_path)


def test_the_pdf_has_them_too(doubled: Summary, tmp_path: Path) -> None:
    pdfium = pytest.importorskip("pypdfium2")
    opened = pdfium.PdfDocument(pdf.render(doubled, tmp_path))
    pages = [page.get_textpage().get_text_bounded() for page in opened]
    opened.close()
    words = "".join("".join(pages).split())
    for expected in ("Do more steps ever cost quality?", "tcd: never worse with more steps",
                     "a loss of the margin is ruled out", "not shown"):  # fmt: skip
        assert "".join(expected.split()) in words


def test_tables_read_back_in_full(doubled: Summary, tmp_path: Path) -> None:
    tables.write(doubled, tmp_path)
    with (tmp_path / "tables/step_response.csv").open() as file:
        found = [*csv.DictReader(file)]
    assert [{k: str(v) for k, v in row.items()} for row in found] == [
        {k: str(v) for k, v in dataclasses.asdict(one).items()} for one in ROWS
    ]
    text = (tmp_path / "tables/step_response.md").read_text(encoding="utf-8")
    assert text.count("\n| ") == 1 + len(ROWS) and "- lcm: more steps are worse" in text


def test_a_result_keeps_them_and_an_older_one_has_none(doubled: Summary) -> None:
    data = summaries.to_json(doubled)
    assert summaries.from_json(data).step_response == ROWS
    del data["step_response"]
    assert summaries.from_json(data).step_response == []
