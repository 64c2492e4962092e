"""Fixtures of the check's tests: made-up runs, written and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.check.made_runs import Made, drawn, texts, write


@pytest.fixture
def made() -> Made:
    """250 prompts, two contestants."""
    prompts = texts(250)
    return Made(prompts, {"lcm-1step": drawn(prompts), "tcd-1step": drawn(prompts, seed=1)})


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """(name, made, **changes) -> the run folder, `made` with the changes."""

    def call(name: str, made: Made, **changes: Any) -> Path:
        return write(tmp_path / name, replace(made, **changes))

    return call


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Calls the command line: (exit code, standard output, standard error)."""
    from bench.cli import main

    def call(run: Path, baseline: Path, *words: str) -> tuple[int, str, str]:
        code = main(["task=check", f"run={run}", f"baseline={baseline}", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def outcomes() -> Callable[[Path], Mapping[tuple[str, str], str]]:
    """(run folder) -> outcome by (contestant, subject), as check.json has them."""

    def call(run: Path) -> Mapping[tuple[str, str], str]:
        rows = json.loads((run / "check/check.json").read_text())["verdicts"]
        return {(row["contestant"], row["subject"]): row["outcome"] for row in rows}

    return call
