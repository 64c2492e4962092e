"""The workflow in docs/check.md: it parses, and its commands are ones that bench.py takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from bench import cli
from bench.statistics.margins import LIMITS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "check.md"


def of_yaml(key: str) -> dict[str, Any]:
    """The page's block of YAML that has a key."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [held for held in map(yaml.safe_load, blocks) if key in held]
    parsed: dict[str, Any] = found
    return parsed


def workflow() -> dict[str, Any]:
    return of_yaml("jobs")


def test_it_shows_the_suites_own_margins_and_limits() -> None:
    suite = yaml.safe_load((ROOT / "suites/shapes_check.yaml").read_text())
    shown = of_yaml("margins")
    assert shown == {key: suite[key] for key in ("margins", "limits")}
    defaults = f'limits.seconds="{LIMITS["seconds"]}" limits.memory="{LIMITS["memory"]}"'
    assert defaults in PAGE.read_text()


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = workflow()["jobs"]["check"]["steps"]
    return found


def test_its_commands_are_what_the_command_line_takes() -> None:
    commands = [shlex.split(re.sub(r"\$\{\{.*?\}\}", "x", step["run"]))
                for step in steps() if "bench.py" in step.get("run", "")]  # fmt: skip
    assert len(commands) == 2
    for words in commands:
        assert words[:2] == [".venv/bin/python", "bench.py"]
        cli.read(words[2:])
    found = cli.read(commands[1][2:]).check
    assert found is not None and found.pictures == "https://github.com/x/raw/check-pictures/x"


def test_it_keeps_the_installation_and_what_a_failed_check_left() -> None:
    kept = [step["with"] for step in steps() if step.get("uses", "").startswith("actions/cache@")]
    assert [k["path"] for k in kept] == [".venv", "runs/cache"]
    assert "hashFiles('pyproject.toml')" in kept[0]["key"]
    installs = next(step for step in steps() if "pip install" in step.get("run", ""))
    assert "cache-hit != 'true'" in installs["if"]
    upload = next(s for s in steps() if s.get("uses", "").startswith("actions/upload-artifact@"))
    assert upload["if"] == "always()"


def test_the_pages_other_commands_are_taken_too() -> None:
    lines = re.findall(r"^python bench.py (.*)$", PAGE.read_text(), re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        cli.read(shlex.split(line))
