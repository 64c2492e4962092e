"""A run held against what papers print: a wrong scheduler is seen, a right one passes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.report import banners, held_against, published, runfiles
from bench.report.published import Table
from bench.results import summary as summaries
from bench.results.run_folder import RunFolder
from bench.results.summary import Contestant, MetricValue, Summary

NETWORK = "ViT-B-32,QuickGELU;input=shortest"
CONDITIONS: dict[str, Any] = {
    "base": "hf://stabilityai/stable-diffusion-xl-base-1.0", "prompts": "coco2014_5k", "n": 5000,
    "size": 1024,
}  # fmt: skip
SUITE = """
title: One step
version: 1
steps: [1]
prompts: {set: shapes/test, n: 40}
metrics: [clip]
contestants:
  lcm: {lora: shapes/lcm}
  tcd: {lora: shapes/tcd}
"""


def value(score: float, **changes: Any) -> MetricValue:
    made = MetricValue(score, score - 0.2, score + 0.2, 500, f"clip/1;{NETWORK};x", True, "no",
                       error=0.1)  # fmt: skip
    return replace(made, **changes)


def run(scores: dict[str, MetricValue], **changes: Any) -> Summary:
    rows = [Contestant(name, name, 4, 4, "id", 500, [0], "", metrics={"clip": one})
            for name, one in scores.items()]  # fmt: skip
    return Summary("s", "p", {}, {}, rows, conditions={**CONDITIONS, **changes})


def table(scores: dict[str, float], network: str | None = NETWORK, **changes: Any) -> Table:
    theirs = {**CONDITIONS, "base": "stable-diffusion-xl-base-1.0", **changes}
    values = {name: {"clip": one} for name, one in scores.items()}
    return Table("A et al. 2024", "Table 1", "c", values, {}, theirs, {"clip": network},
                 {"clip": 0.05})  # fmt: skip


def printed_twice(metric: str) -> Iterator[float]:
    """How far papers are apart that print the same row by the same network."""
    known = [t for t in published.tables() if t.networks.get(metric)]
    for a, b in itertools.combinations(known, 2):
        alike = (a.networks[metric], a.conditions["base"]) == (
            b.networks[metric], b.conditions["base"])  # fmt: skip
        if a.source != b.source and alike and a.conditions["n"] and b.conditions["n"]:
            for name in a.values.keys() & b.values.keys():
                if metric in a.values[name] and metric in b.values[name]:
                    yield abs(a.values[name][metric] - b.values[name][metric])


@pytest.mark.parametrize("metric", ["clip", "image_reward", "pick"])
def test_the_allowance_is_how_far_papers_are_apart(metric: str) -> None:
    apart = max(printed_twice(metric))
    assert apart <= held_against.ALLOWANCE[metric] < 1.1 * apart


def test_a_tolerance_is_chance_and_rounding_and_an_allowance() -> None:
    """0.1 on 500 prompts: 0.0316 of theirs on 5,000."""
    chance = 3 * (0.1**2 + 0.0316**2) ** 0.5
    ours = run({"lcm-4step": value(32.0)}, n=5000)
    (same,) = held_against.held(ours, [table({"lcm-4step": 31.0})])
    assert same.tolerance == pytest.approx(chance + 0.05 + 0.6, abs=1e-3) and same.is_off
    (nearly,) = held_against.held(ours, [table({"lcm-4step": 31.0}, prompts=None)])
    assert nearly.tolerance == pytest.approx(chance + 0.05 + 1.2, abs=1e-3) and not nearly.is_off


@pytest.mark.parametrize(
    ("ours", "theirs", "kind", "counts"),
    [
        ({}, {}, "mean", True),
        ({}, {"prompts": None, "size": None}, "mean", True),
        ({"n": 500}, {}, "mean", True),
        ({"n": 500}, {}, "distance", False),  # which falls with their number
        ({"size": 512}, {}, "mean", False),
        ({"base": "hf://o/stable-diffusion-v1-5"}, {}, "mean", False),
        ({}, {"prompts": "mjhq_30k"}, "mean", False),
        ({}, {"n": None}, "mean", False),
        ({}, {"network": None}, "mean", False),
        ({}, {"network": "ViT-g-14"}, "mean", False),
    ],
)
def test_which_values_count(
    ours: dict[str, Any], theirs: dict[str, Any], kind: Any, counts: bool
) -> None:
    made = run({"lcm-4step": value(32.0, kind=kind)}, **ours)
    assert len(held_against.held(made, [table({"lcm-4step": 32.0}, **theirs)])) == counts


def test_rows_that_are_all_off_alike_are_no_fault_of_one() -> None:
    scores = {f"{name}-4step": 30.0 for name in ("lcm", "tcd", "pcm")}
    theirs = [table(dict.fromkeys(scores, 33.0))]
    found = held_against.verdict(run({n: value(s) for n, s in scores.items()}), {}, theirs)
    assert found is not None and len(found.unexpected) == 1
    assert "all 3 rows are below A et al. 2024, Table 1, by 3.00 to 3.00" in found.unexpected[0]


def test_where_nothing_can_be_compared_it_is_said() -> None:
    found = held_against.verdict(run({"mine-4step": value(32.0)}), {})
    assert found is not None and "No published table" in found.text and not found.unexpected
    assert held_against.verdict(run({"lcm-4step": value(32.0)}, base="shapes/base"), {}) is None


def test_a_wrong_scheduler_is_flagged_and_a_right_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two whole runs of the world's LCM and TCD; what the right one gives stands for the paper,
    which rounds it. The world's base takes the place of a published one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yaml").write_text(SUITE)
    words = ["suite=one.yaml", "device=cpu", "precomputed=false"]
    assert main([*words, "out=right"]) == 0
    wrongly = ["contestants.lcm.scheduler=ddim", "contestants.lcm.spacing=leading"]
    assert main([*words, "out=wrong", *wrongly]) == 0
    right, wrong = (summaries.read(tmp_path / name) for name in ("right", "wrong"))
    network = right.contestants[0].metrics["clip"].identity
    printed = {c.name: round(c.metrics["clip"].value, 1) for c in right.contestants}
    theirs = Table("A et al. 2024", "Table 1", "c", {n: {"clip": v} for n, v in printed.items()},
                   {}, {"base": "base", "prompts": None, "n": 40, "size": 64}, {"clip": network},
                   {"clip": 0.05})  # fmt: skip
    monkeypatch.setattr(published, "tables", lambda: (theirs,))
    base = str(tmp_path / "base")

    def said(found: Summary, folder: str) -> banners.Banner:
        found = replace(found, conditions={**found.conditions, "base": base})
        return banners.banners(found, runfiles.read(found, tmp_path / folder))[0]

    assert said(right, "right").heading == "Compared with papers."
    assert "All 2 values" in said(right, "right").text
    banner = said(wrong, "wrong")
    assert banner.heading == "Not as published." and banner.is_warning
    assert "1 of 2 values" in banner.text and "scheduler, spacing, timesteps, eta" in banner.text
    (line,) = banner.lines
    assert line.startswith("lcm-1step: CLIP is ")
    assert "Drawn with scheduler=ddim, spacing=leading, " in line and "lora=shapes/lcm" in line
    assert RunFolder(tmp_path / "wrong").resolved
