"""The suites of gates and of questions answered, from an empty cache to page, PDF, tables and
check, with small models under the official ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.real import evaluators
from tests.real.commands import bench, result, suite_of
from tests.real.hub_server import serving
from tests.real.official import Files

PROMPTS = """a photo of a bench
a photo of three clocks
a photo of a red car
a photo of a dog left of a bench
a photo of a white cup and a black bowl
"""


@pytest.fixture
def folder(tmp_path: Path, small_hub: dict[str, Files]) -> Path:
    (tmp_path / "five.txt").write_text(PROMPTS)
    return tmp_path


def walked(name: str, folder: Path, repos: dict[str, Files]) -> dict[str, Any]:
    """The result of a suite on five prompts; it is whole, and a check reads it."""
    suite = suite_of(f"suite={name}")
    small = "size=64 device=cpu prompts.set=five.txt prompts.n=5 rounds=0"
    line = f"suite={name} {small} {' '.join(evaluators.words(suite.metrics))} cache=cache"
    check = "task=check run=run baseline=./baseline"
    with serving(repos) as hub:
        plan, run, new, same = bench(
            folder, hub, f"{line} task=plan", f"{line} out=run", f"{check} update=true", check
        )
    assert "missing:" not in plan.said, plan.said
    for done in (plan, run, new, same):
        assert done.code == 0, done.said + done.errors
    found = result(folder / "run")
    assert [row["name"] for row in found["contestants"]] == [row.name for row in suite.rows]
    for row in found["contestants"]:
        absent = set(suite.metrics) - set(row["metrics"])
        assert absent <= ({"lpips_teacher"} if row["method"] == "teacher" else set()), row["name"]
    assert len({row["identity"] for row in found["contestants"]}) == len(suite.rows)
    assert (folder / "run/report.pdf").stat().st_size > 10_000
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sdxl_precision", "sd15_precision", "sdxl_style"])
def test_each_gate_is_judged_against_its_own_row(
    name: str, folder: Path, small_hub: dict[str, Files]
) -> None:
    found = walked(name, folder, small_hub)
    stated = suite_of(f"suite={name}").claims
    assert len(found["claims"]) == len(stated) and all(c["delta"] is not None
                                                       for c in found["claims"])  # fmt: skip
    assert all(c["about"] == "weights" and c["verdict"] != "undecided" for c in found["claims"])
    page = (folder / "run/report.html").read_text()
    table = (folder / "run/tables/claims.md").read_text()
    for claim in found["claims"]:
        assert claim["text"] in page and claim["text"] in table
    primary = {(c["a"], c["b"]) for c in found["comparisons"] if c["family"] == "primary"}
    for claim in stated:
        of = [pair for pair in primary if any(n.startswith(f"{claim.a}-") for n in pair)]
        assert any(n.startswith(f"{claim.b}-") for pair in of for n in pair), claim


@pytest.mark.slow
def test_skills_vqa_and_hpsv3_reach_the_report(folder: Path, small_hub: dict[str, Files]) -> None:
    found = walked("sdxl_skills", folder, small_hub)
    page = (folder / "run/report.html").read_text()
    for title in ("Skills", "Objects", "Count", "Colour", "Position", "Attribution", "VQA"):
        assert title in page
    for row in found["contestants"]:
        for name, value in row["metrics"].items():
            assert value["low"] <= value["value"] <= value["high"], name
        asked = {name: row["metrics"][name]["prompts"] for name in row["metrics"]}
        assert asked["skill_object"] == asked["skills"] == 5
        assert {asked[f"skill_{s}"] for s in ("count", "colour", "position", "attribution")} == {1}
    metrics = {c["metric"] for c in found["comparisons"]}
    assert {"skills", "skill_object", "vqa", "hpsv3"} <= metrics
    assert json.loads((folder / "run/result.json").read_text())["suite"] == "sdxl_skills"


@pytest.mark.slow
def test_shares_of_the_teachers_spread_reach_the_report(
    folder: Path, small_hub: dict[str, Files]
) -> None:
    found = walked("sdxl_diversity", folder, small_hub)
    page = (folder / "run/report.html").read_text()
    for title in ("Diversity left", "Vendi left", "LPIPS left"):
        assert title in page
    assert "Above 100 is not better" in page
    for row in found["contestants"]:
        for name in ("diversity_share", "vendi_share", "lpips_share"):
            value = row["metrics"][name]
            assert value["low"] <= value["value"] <= value["high"] and value["prompts"] == 5
            assert row["method"] != "teacher" or value["value"] == pytest.approx(100)
