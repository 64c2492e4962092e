"""The PDF, read by another library: words, pages, fonts, and that pages are not blank."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.report import charts, pdf, plates, runfiles
from bench.report.runfiles import RunFiles
from bench.results.summary import Claim, Summary
from tests.report import synthetic

pdfium = pytest.importorskip("pypdfium2")
EVIL = '#panic("x") $a_b$ *c* <d> @e //f'


@pytest.fixture(scope="module")
def document(
    made_up: tuple[Path, Summary], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A report with a hostile title, prompt and claim."""
    run, summary = made_up
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


def test_the_first_page_has_findings_figure_and_table_and_the_last_ones_the_pairs(
    document: Any,
) -> None:
    pages = [" ".join(page.split()) for page in text_of(document)]
    for expected in ("Findings", "Figure 1.", "Results", "teacher-25step"):
        assert expected in pages[0]
    appendix = next(i for i, page in enumerate(pages) if "Every pair, with intervals" in page)
    said = [i for i, page in enumerate(pages) if "is better than" in page]
    assert said and min(said) == appendix > pages.index(
        next(page for page in pages if "How it was run" in page)
    )


@pytest.mark.parametrize("count", [0, 1, 3, 9, 10, 11, 33])
def test_plates_break_evenly_whatever_the_number_of_contestants(count: int) -> None:
    names = [f"c{i}" for i in range(count)]
    found = plates.parts(names)
    assert [name for part in found for name in part] == names
    sizes = [len(part) for part in found]
    assert len(sizes) == -(-count // plates.COLUMNS)
    assert not sizes or max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", [3, 9, 10, 33])
def test_pictures_stay_on_the_page_and_have_one_size(tmp_path: Path, count: int) -> None:
    """As the PDF's reader finds them; tall pictures and long prompts of images made elsewhere."""
    raw = pytest.importorskip("pypdfium2.raw")
    run = tmp_path / "run"
    known = synthetic.write(run, 8, rows=[("lcm", steps) for steps in range(1, count + 1)])
    for path in (run / "images").glob("*/*.png"):
        if int(path.stem) % 2:
            Image.new("RGB", (40, 64), "teal").save(path)
    found = runfiles.read(known, run)
    words = dict.fromkeys(found.prompts, "a very long prompt of many words " * 20)
    files = replace(found, prompts=words)
    few = replace(known, comparisons=[])
    made = plates.plates(few, files, tmp_path)
    with pdfium.PdfDocument(pdf.render(few, tmp_path, files)) as opened:
        boxes: list[tuple[int, tuple[float, ...]]] = []
        names: dict[int, list[float]] = {}
        for number, page in enumerate(opened):
            for one in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=6):
                boxes.append((number, one.get_bounds()))
            printed = page.get_textpage()
            at = [match.start() for match in re.finditer("step", printed.get_text_range())]
            names[number] = [printed.get_charbox(index)[1] for index in at]
        footer, top = 18 * 72 / 25.4, 841.9 - 16 * 72 / 25.4
        assert len(boxes) == count * plates.PROMPTS
        for _, (left, bottom, right, above) in boxes:
            assert bottom > footer and above < top and left > 50 and right < 595.3 - 50
    heights = [above - bottom for _, (_, bottom, _, above) in boxes]
    assert max(heights) == pytest.approx(made[0].side * 72 / 25.4, abs=0.5)
    assert max(heights) - min(heights) < 0.5
    pages = {number for number, _ in boxes}
    for number in pages:  # a plate's names stand right above its pictures
        highest = max(box[3] for page, box in boxes if page == number)
        assert any(0 < height - highest < 10 for height in names[number])
    assert len(pages) <= -(-len(made) // 2)


def test_an_empty_run_has_a_pdf_too(tmp_path: Path) -> None:
    summary = Summary("empty", "p", {}, {}, [])
    path = pdf.render(summary, tmp_path, RunFiles(tmp_path, {}, {}))
    with pdfium.PdfDocument(path) as opened:
        assert re.search("No two contestants", opened[0].get_textpage().get_text_bounded())
    assert [p.name for p in tmp_path.iterdir()] == ["report.pdf"]


@pytest.mark.parametrize("size", [1024, 512])
def test_only_what_can_be_compared_with_papers_has_a_table(
    made_up: tuple[Path, Summary], tmp_path: Path, size: int
) -> None:
    """SDXL's CLIP score in Hyper-SD's table 2 was made at 1,024 pixels; else a sentence is left."""
    run, summary = made_up
    network = "clip/1;ViT-B-32,QuickGELU;input=shortest"
    rows = [replace(c, metrics={"clip": replace(c.metrics["clip"], identity=network)})
            for c in summary.contestants]  # fmt: skip
    conditions = {"base": "hf://them/stable-diffusion-xl-base-1.0", "n": 5000, "size": size}
    made = replace(summary, contestants=rows, conditions=conditions, comparisons=[])
    with pdfium.PdfDocument(pdf.render(made, tmp_path, runfiles.read(summary, run))) as opened:
        words = " ".join(" ".join(text_of(opened)).split())
    assert ("Values here and in papers" in words and "33.160" in words) == (size == 1024)
    assert re.search(r"Papers\. Of this base they print \d+ values? by other protocols\.", words)
