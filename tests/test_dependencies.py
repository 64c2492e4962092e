"""Floors and installed versions against recorded advisories; what the floors resolve to."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ADVISORIES: dict[str, dict[str, Any]] = tomllib.loads(
    (ROOT / "tests" / "advisories.toml").read_text(encoding="utf-8")
)
FIXED = {name: Version(about["fixed"]) for name, about in ADVISORIES.items() if "fixed" in about}


def direct() -> list[Requirement]:
    """What pyproject.toml names: of the project, its extras and its build."""
    project, build = PROJECT["project"], PROJECT["build-system"]["requires"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in (*project["dependencies"], *extras, *build)]


def floor(specifier: SpecifierSet) -> Version | None:
    """The lowest version that a specifier allows; None where it names none."""
    lows = [Version(one.version) for one in specifier if one.operator in (">=", "==", "~=")]
    return max(lows, default=None)


@pytest.mark.parametrize("requirement", direct(), ids=lambda each: each.name)
def test_a_floor_is_above_known_advisories(requirement: Requirement) -> None:
    lowest, fixed = floor(requirement.specifier), FIXED.get(canonicalize_name(requirement.name))
    assert lowest is not None or requirement.name == "types-PyYAML"  # stubs, dated by day
    assert fixed is None or (lowest is not None and lowest >= fixed)


@pytest.mark.parametrize("name", FIXED)
def test_what_is_installed_is_above_known_advisories(name: str) -> None:
    try:
        installed = Version(metadata.version(name))
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    assert installed >= FIXED[name], ADVISORIES[name]["ids"]


def test_what_has_no_fix_is_not_called() -> None:
    functions = [name for about in ADVISORIES.values() for name in about.get("functions", ())]
    called = re.compile(rf"\b(?:{'|'.join(functions)})\b")
    code = [path for room in ("bench", "hypersd") for path in (ROOT / room).rglob("*.py")]
    assert [path for path in code if called.search(path.read_text(encoding="utf-8"))] == []
    for about in ADVISORIES.values():
        assert about["ids"] and ("fixed" in about) != ("why" in about)


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "1 package"),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", '
         '"fix_versions": ["2"]}]}]}', 1, "a 1: CVE-1, fixed in 2"),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', 0, "none could be asked"),
        ("", 0, "none could be asked"),
    ],
)  # fmt: skip
def test_the_audit_fails_for_what_it_finds_alone(
    tmp_path: Path, found: str, code: int, said: str
) -> None:
    (tmp_path / "found.json").write_text(found)
    done = subprocess.run(
        ["bash", str(ROOT / ".ci/audit"), "read", str(tmp_path / "found.json")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, said in done.stdout) == (code, True), done
