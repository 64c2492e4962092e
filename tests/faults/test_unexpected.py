"""An error that nobody foresaw: one line, its trace in a file, an exit code of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench import cli
from bench.contestants import pipelines, source
from bench.errors import UsageError
from bench.suite.contestant import Row
from bench.suite.prompts import PromptSet
from hypersd import errors


def fail(*words: Any) -> int:
    raise KeyError("no such thing\nat all")


def test_it_is_one_line_that_names_the_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(cli.TASKS, "plan", fail)
    assert cli.main(["suite=shapes_1step", "task=plan"]) == 70
    said = capsys.readouterr().err
    assert said.startswith("error: unexpected KeyError") and said.count("\n") == 1
    (log,) = (tmp_path / "runs/errors").glob("*.log")
    assert f"runs/errors/{log.name}" in said
    assert "Traceback" in log.read_text() and "in fail" in log.read_text()


def test_other_commands_too_and_where_nothing_can_be_written_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").write_text("a file where a folder should be")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert errors.exit_code(fail) == errors.UNEXPECTED == 70
    (log,) = (tmp_path / "temporary").glob("*.log")
    assert str(log) in capsys.readouterr().err


def test_networks_that_memory_does_not_hold_are_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    command = cli.read(["suite=shapes_1step"])
    assert command.suite is not None
    row: Row = next(row for row in command.suite.rows if row.settings.key == "lcm")
    monkeypatch.setattr(pipelines, "_ready", full)
    networks = pipelines.Networks(torch.device("cpu"))
    with pytest.raises(UsageError, match=r"contestants\.lcm: out of memory on cpu"):
        source.load(row, PromptSet("shapes/test", ("a",)), 64, None, networks)
