"""The action and the workflow in docs/check.md: they parse, and do what the page says of them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "check.md"
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: dict[str, dict[str, Any]] = {s.get("name", ""): s for s in ACTION["runs"]["steps"]}
Check = Callable[..., tuple[dict[str, str], list[list[str]]]]


def workflow() -> dict[str, Any]:
    found = re.search(r"^```yaml\n(name:.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    parsed: dict[str, Any] = yaml.safe_load(found[1])
    return parsed


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Runs the action's step "Check" with a Python that notes its words and ends with a code."""

    def call(code: int = 0, **inputs: str) -> tuple[dict[str, str], list[list[str]]]:
        python = tmp_path / "venv/bin/python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$*" >> {tmp_path}/words\n'
            f'case "$*" in *task=check*) exit {code};; esac\n'
        )
        python.chmod(0o755)
        output = tmp_path / "output"
        output.write_text("")
        given = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
        given |= {name.replace("_", "-"): value for name, value in inputs.items()}
        known = {**os.environ, "GITHUB_OUTPUT": str(output), "GITHUB_RUN_ID": "7"}
        for name, value in STEPS["Check"]["env"].items():
            of = re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", value)
            known[name] = given[of[1]] if of else ""
        known |= {"VENV": str(tmp_path / "venv"), "ADDRESS": "https://github.com/me/it/raw"}
        subprocess.run(["bash", "-c", STEPS["Check"]["run"]], env=known, check=True, cwd=tmp_path)
        said = dict(line.split("=", 1) for line in output.read_text().splitlines())
        words = (tmp_path / "words").read_text().splitlines()
        (tmp_path / "words").unlink()
        return said, [line.split() for line in words]

    return call


def test_every_script_of_the_action_is_one_of_bash() -> None:
    assert ACTION["runs"]["using"] == "composite"
    for step in ACTION["runs"]["steps"]:
        assert ("uses" in step) != ("run" in step)
        if "run" in step:
            assert step["shell"] == "bash" and "${{" not in step["run"]  # no text becomes code
            subprocess.run(["bash", "-n", "-c", step["run"]], check=True)


def test_the_action_decides_with_words_that_the_command_line_takes(check: Check) -> None:
    said, (words,) = check(
        suite="shapes_check", baseline="shapes", arguments="prompts.n=200 device=cpu", most="100",
        pictures_branch="shots",
    )  # fmt: skip
    assert said == {"exit-code": "0", "outcome": "pass"}
    assert words[:2] == ["-m", "bench"]
    found = cli.read(words[2:])
    assert found.check is not None and found.suite is not None
    assert (found.check.decide, found.check.most) == (True, 100)
    assert found.check.pictures == "https://github.com/me/it/raw/shots/7"
    assert (found.suite.n, found.options.device, str(found.options.out)) == (200, "cpu", "runs/ci")


def test_the_action_draws_once_and_judges_where_it_shall_not_decide(check: Check) -> None:
    said, words = check(3, suite="shapes_check", baseline="shapes", decide="false")
    assert said == {"exit-code": "3", "outcome": "inconclusive"}
    first, second = (cli.read(one[2:]) for one in words)
    assert (first.task, second.task, str(second.finished)) == ("run", "check", "runs/ci")


@pytest.mark.parametrize(
    ("code", "outcome"), [(0, "pass"), (1, "regress"), (2, "usage"), (3, "inconclusive")]
)
def test_the_action_says_the_outcome_and_ends_as_the_check_does(
    check: Check, code: int, outcome: str
) -> None:
    said, _ = check(code, suite="s", baseline="b")
    assert said["outcome"] == outcome
    for strict, ends in (("error", code), ("warning", 0 if code == 3 else code)):
        known = {**os.environ, "CODE": said["exit-code"], "INCONCLUSIVE": strict}
        done = subprocess.run(["bash", "-c", STEPS["Verdict"]["run"]], env=known, check=False)
        assert done.returncode == ends


def test_the_workflow_of_the_page_gives_the_action_inputs_that_it_has() -> None:
    (step,) = [s for s in workflow()["jobs"]["check"]["steps"] if "few-step-bench" in s["uses"]]
    needed = {name for name, one in ACTION["inputs"].items() if one.get("required")}
    assert needed <= step["with"].keys() <= ACTION["inputs"].keys()
    table = PAGE.read_text()
    assert all(f"`{name}`" in table for name in (*ACTION["inputs"], *ACTION["outputs"]))


def test_the_pages_other_commands_are_taken_too() -> None:
    lines = re.findall(r"^python bench.py (.*)$", PAGE.read_text(), re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        cli.read(shlex.split(line))
