"""Rows come cheapest first, and while others are drawn a report of those that are done stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.run import early, rows
from bench.run.options import RunOptions
from bench.run.plan import make
from bench.suite import compose, suite

Bench = Callable[..., int]
ROWS = ["lcm-1step", "lcm-2step", "real", "teacher-2step"]
ORDER = ["real", "lcm-1step", "lcm-2step", "teacher-2step"]
TEACHER = "+contestants.teacher={steps: [2], scheduler: ddim, guidance: 2.0}"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rows in the order in which they are begun; one that is called `stop` ends the run there."""
    found: list[str] = []
    row = rows.row

    def noted(plan: Any, planned: Any, *rest: Any) -> Any:
        found.append(planned.name)
        if "stop" in found and planned.name == "teacher-2step":
            raise KeyboardInterrupt
        return row(plan, planned, *rest)

    monkeypatch.setattr(rows, "row", noted)
    return found


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report after every row."""
    monkeypatch.setattr(early, "LEAST", 0.0)
    monkeypatch.setattr(early, "SPARE", 0.0)


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    for name in ("seconds", "environment", "sha256"):
        del found[name]
    for one in found["contestants"]:
        for name in ("seconds_per_image", "seconds_alone", "peak_memory_bytes"):
            del one[name]
    return found


def test_a_stopped_run_leaves_the_report_of_its_rows_and_ends_as_any_other(
    bench: Bench, world: Path, drawn: list[str], at_once: None
) -> None:
    """All but the teacher, which comes last; then the rest, equal to a run that was not stopped."""
    claim = "claims=[{a: lcm, is: better, than: teacher, metric: clip}]"
    assert bench("out=whole", "cache=other", TEACHER, claim) == 0
    assert drawn == ORDER
    drawn[:] = ["stop"]
    assert bench("out=run", TEACHER, claim) == 130
    assert not (world / "run/result.json").exists()
    page = (world / "run/report.html").read_text()
    assert "3 of 4 rows are drawn" in page and "2 pairs and all claims wait" in page
    assert '<th scope="row">teacher-2step</th><td>30</td><td>120</td>' in page
    assert "waits for the rows that are still to be drawn" in page
    tables = {path.name: path.read_text() for path in (world / "run/tables").iterdir()}
    assert "Partial, 3 of 4 rows" in tables["results.md"] and "Partial" in tables["results.tex"]
    assert "teacher-2step,teacher,2,,,,," in tables["results.csv"]
    assert "teacher-2step,lcm-1step,,,,," in tables["comparisons.csv"]
    drawn.clear()
    assert bench("out=run", TEACHER, claim) == 0
    assert result(world / "run") == result(world / "whole")
    assert [one["name"] for one in result(world / "run")["contestants"]] == [*ROWS]
    assert "rows are drawn" not in (world / "run/report.html").read_text()


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), ValueError("odd")])
def test_a_report_that_fails_does_not_harm_the_run(
    fault: Exception,
    bench: Bench,
    world: Path,
    at_once: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*_: Any) -> None:
        raise fault

    monkeypatch.setattr("bench.report.write.early", fails)
    assert bench("out=run", TEACHER) == 0
    assert "no report of the rows so far" in capsys.readouterr().out
    assert len(result(world / "run")["contestants"]) == 4


def test_a_finished_report_stays_while_its_run_is_made_again(
    bench: Bench, world: Path, drawn: list[str], at_once: None
) -> None:
    assert bench("out=run", TEACHER) == 0
    before = (world / "run/report.html").read_bytes()
    drawn[:] = ["stop"]
    assert bench("out=run", "cache=empty", TEACHER) == 130
    assert (world / "run/report.html").read_bytes() == before


def test_reports_take_a_small_share_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of 40 seconds after each of 100 rows of 60 seconds: three, not a hundred."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(early, "_is_worth_it", lambda drawn: True)
    written: list[float] = []

    def write(_: Any) -> None:
        written.append(now[0])
        now[0] += 40

    reports = early.EarlyReports(write, out=None)  # type: ignore[arg-type]
    for _ in range(100):
        now[0] += 60
        reports(None)  # type: ignore[arg-type]
    assert len(written) == 5 and reports.seconds == 200 < 0.04 * now[0]


def test_a_teacher_that_others_are_held_against_comes_first(world: Path) -> None:
    """Its pictures are needed for the scores of every row."""
    plan = make(suite.read("tiny", compose.compose("tiny.yaml", [TEACHER])), RunOptions())
    assert [planned.name for planned in plan.sound] == ORDER
    assert [planned.name for planned in plan.rows] == ROWS
    paired = replace(plan, extractors={"perceptual;against=abc": "x"})
    assert paired.sound[0].name == "teacher-2step"
