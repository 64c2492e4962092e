"""Figures as files: each can be read alone, and the sheet shows the run's own pictures."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.report import figure_files, runfiles
from bench.results.summary import Summary
from tests.report import synthetic

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    folder = tmp_path_factory.mktemp("run")
    return folder, synthetic.write(folder, 20)


def test_the_command_writes_charts_and_pictures(run: tuple[Path, Summary], tmp_path: Path) -> None:
    assert main(["task=report", f"run={run[0]}", f"out={tmp_path}", "figures=true"]) == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"steps_clip.svg", "intervals_clip.svg", "pictures.png"} <= names


def test_without_the_key_there_are_none(run: tuple[Path, Summary], tmp_path: Path) -> None:
    assert main(["task=report", f"run={run[0]}", f"out={tmp_path}"]) == 0
    assert not (tmp_path / "figures").exists()


def test_a_chart_alone_is_as_large_as_what_it_holds_and_names_its_methods(
    run: tuple[Path, Summary], tmp_path: Path
) -> None:
    folder, summary = run
    figure_files.write(summary, tmp_path, runfiles.read(summary, folder, tmp_path))
    root = ElementTree.parse(tmp_path / "figures" / "steps_clip.svg").getroot()
    _, _, width, height = (float(n) for n in root.get("viewBox", "").split())
    assert float(root.get("width", 0)) / width == float(root.get("height", 0)) / height
    for circle in root.iterfind(f"{SVG}circle"):
        assert float(circle.get("cy", "inf")) + float(circle.get("r", "inf")) <= height
    texts = {text.text for text in root.iter(f"{SVG}text")}
    assert {c.method for c in summary.contestants if not c.is_anchor} <= texts
    assert root.get("font-family")


def test_the_sheet_shows_the_pictures_of_its_columns(run: tuple[Path, Summary]) -> None:
    folder, summary = run
    files = runfiles.read(summary, folder)
    sheet = figure_files.pictures(summary, files, prompts=2)
    assert sheet is not None
    names = [c.name for c in figure_files.contestants(summary, files)]
    prompt = figure_files.shuffled(files)[0]
    step = figure_files.CELL + figure_files.GAP
    assert sheet.size == (
        figure_files.GAP + step * len(names),
        figure_files.HEAD + 2 * figure_files.ROW,
    )
    for column, name in enumerate(names):
        corner = figure_files.GAP + step * column, figure_files.HEAD
        box = (*corner, corner[0] + figure_files.CELL, corner[1] + figure_files.CELL)
        own = Image.open(files.pictures[name][prompt]).convert("RGB")
        twice = own.resize((figure_files.CELL, figure_files.CELL), Image.Resampling.NEAREST)
        assert np.array_equal(np.asarray(sheet.crop(box)), np.asarray(twice))
