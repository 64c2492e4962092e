"""`task=sensitivity`: the grid of a contestant, and its best and worst cell, on tiny models."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest

from bench import cli
from bench.contestants import own_sampler
from bench.errors import UsageError
from bench.suite.sampler_grid import Grid, gridded, named
from bench.suite.suite import Suite

Bench = Callable[..., int]


def read(*words: str) -> Suite:
    found = cli.read(list(words)).suite
    assert found is not None
    return found


def test_cells_are_what_differs_from_the_contestants_own_settings() -> None:
    suite = read("suite=shapes_4step")
    made = gridded(suite, Grid("tcd", ("ddim", "lcm", "tcd"), (0.0, 0.3), (1.0, 2.0)))
    names = [row.name for row in made.rows]
    assert names == [
        "tcd-4step", "tcd.ddim-4step", "tcd.ddim-g2-4step", "tcd.lcm-4step", "tcd.lcm-g2-4step",
        "tcd.tcd-eta0-4step", "tcd.tcd-eta0-g2-4step", "tcd.tcd-eta0.3-g2-4step",
    ]  # fmt: skip
    assert made.rows[0] == next(row for row in suite.rows if row.name == "tcd-4step")
    cell = made.rows[-1].settings
    assert (cell.weights, cell.sampling.original_steps) == ("shapes/tcd", 40)
    assert made.rows[1].settings.sampling.spacing == "trailing"
    assert named(cell.sampling) == "tcd-eta0.3-g2"


def test_timesteps_of_its_own_go_to_schedulers_that_take_them() -> None:
    made = gridded(read("suite=sdxl_4step"), Grid("dmd2", ("ddim", "lcm", "euler"), (0.0,), (1.0,)))
    held = {row.settings.key: row.settings.sampling for row in made.rows}
    assert list(held) == ["dmd2", "dmd2.ddim", "dmd2.euler"]
    assert (
        held["dmd2.euler"].timesteps == held["dmd2"].timesteps and not held["dmd2.ddim"].timesteps
    )


FLOW = """
title: f
version: 1
base: hf://a/flux
steps: [4]
size: 1024
prompts: {set: own, n: 2}
metrics: [clip]
contestants:
  turbo: {lora: x.safetensors, guidance: 3.5, scheduler_config: {shift: 3.0}}
"""


def test_a_flow_is_crossed_by_shift_which_its_scheduler_takes(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    suite = read(f"suite={tmp_path}/flow.yaml")
    grid = Grid("turbo", ("flow_euler", "flow_heun"), (0.0,), (1.0, 3.5), (1.0, 6.0))
    rows = {row.settings.key: row.settings for row in gridded(suite, grid).rows}
    assert list(rows) == [
        "turbo", *(f"turbo.{kind}-shift{shift}{g}" for kind in ("flow_euler", "flow_heun")
                   for g in ("", "-g3.5") for shift in (1, 6)),
    ]  # fmt: skip
    base = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    for shift in (1.0, 6.0):
        for kind in ("flow_euler", "flow_heun"):
            cell = rows[f"turbo.{kind}-shift{shift:g}"]
            assert cell.own.guidance == 1.0
            made = own_sampler.make_scheduler(base, cell)
            if kind == "flow_euler":
                theirs = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
                for scheduler in (made, theirs):
                    scheduler.set_timesteps(4)
                assert made.sigmas.tolist() == theirs.sigmas.tolist()
            assert made.config.shift == shift
    with pytest.raises(UsageError, match=r"shifts: go with a rectified flow; valid: schedulers="):
        gridded(suite, Grid("turbo", ("ddim",), (0.0,), (1.0,), (3.0,)))


def test_the_teacher_comes_along_only_where_a_metric_needs_it() -> None:
    grid = Grid("tcd", ("lcm",), (0.0,), (1.0,))
    assert len(gridded(read("suite=shapes_4step"), grid).rows) == 2
    paired = gridded(read("suite=shapes_4step", "metrics=[perceptual_teacher]"), grid)
    assert [row.settings.key for row in paired.rows] == ["tcd", "tcd.lcm", "teacher"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "contestant=NAME is missing"),
        ("tdc", "did you mean 'tcd'"),
        ("real", "valid: hyper_sd, lcm"),
    ],
)
def test_a_contestant_that_no_sampler_draws_is_one_line(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gridded(read("suite=shapes_4step"), Grid(name))


def test_other_tasks_refuse_the_words_of_this_one() -> None:
    with pytest.raises(UsageError, match="schedulers: goes with task=sensitivity"):
        cli.read(["suite=shapes_4step", "schedulers=[lcm]"])


def test_best_and_worst_stand_beside_the_recommended(
    bench: Bench, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("task=sensitivity", "contestant=lcm", "schedulers=[ddim,tcd]", "etas=[0,1]",
             "guidances=[1,3]", "steps=[2]", "metrics=[clip]", "rounds=0", "out=run")  # fmt: skip
    assert bench(*words) == 0
    result = json.loads((world / "run/result.json").read_text())
    values = {c["name"]: c["metrics"]["clip"]["value"] for c in result["contestants"]}
    assert len(values) == 7
    cells = {name: value for name, value in values.items() if name.startswith("lcm.")}
    with (world / "run/sensitivity.csv").open() as file:
        rows = {row["role"]: row for row in csv.DictReader(file)}
    assert float(rows["best"]["value"]) == max(cells.values())
    assert float(rows["worst"]["value"]) == min(cells.values())
    apart = float(rows["best"]["value"]) - float(rows["recommended"]["value"])
    assert float(rows["best"]["difference"]) == pytest.approx(apart, abs=1e-9)
    low, high = (float(rows["best"][f"difference_{end}"]) for end in ("low", "high"))
    assert low <= apart <= high and rows["recommended"]["cells"] == "6"
    primary = [c for c in result["comparisons"] if c["family"] == "primary"]
    assert len(primary) == 6 and all("lcm-2step" in (c["a"], c["b"]) for c in primary)
    said = capsys.readouterr().out
    assert "| CLIP | 2 |" in said and "chosen by the value that it shows" in said
    assert (world / "run/sensitivity.svg").read_text().startswith("<svg")
    assert "lcm by sampler" in (world / "run/report.html").read_text()
