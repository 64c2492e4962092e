"""The PDF, read by another library: words, pages, fonts, and that pages are not blank."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.report import charts, pdf
from bench.report.runfiles import RunFiles
from bench.results.summary import Claim, Summary

pdfium = pytest.importorskip("pypdfium2")
EVIL = '#panic("x") $a_b$ *c* <d> @e //f'


@pytest.fixture(scope="module")
def document(
    made_up: tuple[Path, Summary], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A report with a hostile title, prompt and claim."""
    run, summary = made_up
    from bench.report import runfiles

    found = runfiles.read(summary, run)
    prompts = {i: f"{EVIL} {text}" for i, text in found.prompts.items()}
    files = replace(found, prompts=prompts)
    claim = Claim(f"claim {EVIL}", "undecided", "too few seeds", 1)
    path = pdf.render(
        replace(summary, title=EVIL, claims=[claim]), tmp_path_factory.mktemp("pdf"), files
    )
    opened = pdfium.PdfDocument(path)
    yield opened
    opened.close()


def text_of(document: Any) -> list[str]:
    return [page.get_textpage().get_text_bounded() for page in document]


def test_findings_tables_and_plates_are_there(document: Any) -> None:
    pages = text_of(document)
    words = " ".join(" ".join(pages).split())
    for expected in ("Findings", "Results", "teacher-25step", "Pareto front", "Figure 1.",
                     "Table 1.", "Quality over steps", "How it was run",
                     "claim #panic"):  # fmt: skip
        assert expected in words
    for number, page in enumerate(pages, 1):
        assert f"{number} / {len(pages)}" in page
    assert document.get_metadata_dict()["Title"] == EVIL


def test_words_from_outside_are_printed_as_they_are(document: Any) -> None:
    assert EVIL.replace(" ", "") in "".join(text_of(document)[0].split())


def test_figures_are_vectors_and_their_text_is_text(
    made_up: tuple[Path, Summary], document: Any
) -> None:
    drawn = charts.draw(made_up[1])
    assert drawn.intervals and drawn.steps and drawn.speed
    for chart in (*drawn.intervals, *drawn.steps, *drawn.speed):
        assert "<text" in chart.svg and "<image" not in chart.svg
    assert " ".join(text_of(document)).count("ms per image") == len(drawn.speed)


def test_every_font_of_the_document_is_embedded(document: Any) -> None:
    raw = pytest.importorskip("pypdfium2.raw")
    seen = 0
    for page in document:
        for text in page.get_objects(filter=[raw.FPDF_PAGEOBJ_TEXT], max_depth=4):
            assert raw.FPDFFont_GetIsEmbedded(raw.FPDFTextObj_GetFont(text.raw)) == 1
            seen += 1
    assert seen > 500


def test_no_page_is_blank_and_nothing_runs_over_the_margin(document: Any) -> None:
    for page in document:
        grey = np.asarray(page.render(scale=0.6, grayscale=True).to_pil())
        assert (grey < 128).sum() > 60
        edge = round(0.6 * 72 * 12 / 25.4)  # 12 mm; margins are 20 mm
        assert grey[:, :edge].min() > 240
        assert grey[:, -edge:].min() > 240


def test_an_empty_run_has_a_pdf_too(tmp_path: Path) -> None:
    summary = Summary("empty", "p", {}, {}, [])
    path = pdf.render(summary, tmp_path, RunFiles(tmp_path, {}, {}))
    with pdfium.PdfDocument(path) as opened:
        assert re.search("No two contestants", opened[0].get_textpage().get_text_bounded())
    assert [p.name for p in tmp_path.iterdir()] == ["report.pdf"]


def test_values_that_papers_print_are_in_it(made_up: tuple[Path, Summary], tmp_path: Path) -> None:
    from bench.report import runfiles

    run, summary = made_up
    made = replace(summary, conditions={"base": "hf://them/stable-diffusion-xl-base-1.0"})
    path = pdf.render(made, tmp_path, runfiles.read(summary, run))
    with pdfium.PdfDocument(path) as opened:
        words = " ".join(" ".join(text_of(opened)).split())
    assert "Values here and in papers" in words and "33.160" in words
