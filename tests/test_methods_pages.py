"""docs/methods: every figure is that of a published table or of docs/results.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bench.statistics.metrics import METRICS
from hypersd import recipe
from hypersd.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "methods"
PAGES = sorted(FOLDER.glob("*.md"))
TITLES = {
    "FID": "fid", "FID patch": "fid_patch", "FID teacher": "fid_teacher", "CLIP": "clip",
    "aesthetic": "aesthetic", "ImageReward": "image_reward", "PickScore": "pick", "HPS": "hps",
}  # fmt: skip


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def published(source: str, place: str, row: str) -> dict[str, float | None]:
    tables = yaml.safe_load((ROOT / "reports/published" / source).read_text("utf-8"))["tables"]
    (table,) = (table for table in tables if table["place"] == place)
    return dict(zip(table["metrics"], table["rows"][row], strict=True))


def test_every_method_has_a_page() -> None:
    distilled = {name for name in METHODS if not name.startswith("shapes_")}
    assert {page.stem for page in PAGES} == distilled | {"hyper_sd"}
    assert set(TITLES.values()) <= set(METRICS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_papers_figures_are_those_of_its_published_table(page: Path) -> None:
    columns, found = [], 0
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("| measured by |"):
            columns = cells(line)[2:]
        if match := re.match(
            r"\| \[\w+\]\(\.\./\.\./reports/published/(\w+\.yaml)\), (.*?) \|", line
        ):
            _, row, *values = cells(line)
            given = published(*match.groups(), row.strip("`"))
            for title, value in zip(columns, values, strict=True):
                expected = given.get(TITLES[title])
                assert (None if value == "\N{EN DASH}" else float(value)) == expected, (
                    f"{row} {title}"
                )
            found += 1
    assert found


def test_the_results_page_opens_with_figures_of_its_tables() -> None:
    text = (ROOT / "docs/results.md").read_text("utf-8")
    rows = {cells(line)[0]: cells(line) for line in reversed(text.splitlines()) if "±" in line}
    summary = [cells(line) for line in text.split("![")[0].splitlines() if " / " in line]
    names = {"LCM": "lcm", "TCD": "tcd", "SDXL-Lightning": "lightning", "Hyper-SD": "hyper_sd"}
    found = 0
    for title, *values in summary:
        for steps, value in zip((1, 2, 4, 8), values, strict=True):
            if title in names:
                fid, clip = (cell.split()[0] for cell in rows[f"{names[title]}-{steps}step"][1:3])
                assert value == f"{clip} / {fid}", title
                found += 1
    assert found == 16


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_our_figures_are_those_of_the_results_page(page: Path) -> None:
    results = (ROOT / "docs/results.md").read_text("utf-8").splitlines()
    ours = [line for line in page.read_text("utf-8").splitlines() if "±" in line]
    assert ours and [line for line in ours if line not in results] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_our_settings_are_those_of_the_recipes(page: Path) -> None:
    """Learning rate, updates and batch, in the columns that name a recipe."""
    columns, found = [], 0
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("| | ") and "ours, `" in line:
            columns = [re.search(r"ours, `(\w+)`", cell) for cell in cells(line)]
        row = cells(line)
        if not columns or len(row) != len(columns) or row[0].startswith("critic"):
            continue
        for column, cell in zip(columns, row, strict=True):
            if column is None:
                continue
            made = recipe.load(column[1])
            if row[0].startswith("learning rate"):
                mantissa, exponent = f"{made.lr:e}".split("e")
                assert cell.startswith(f"{float(mantissa):g}e{int(exponent)}"), column[1]
                found += 1
            if row[0].startswith("updates"):
                assert cell == f"{made.steps:,} \N{MULTIPLICATION SIGN} {made.batch}", column[1]
                found += 1
    assert found or page.stem == "hyper_sd"
