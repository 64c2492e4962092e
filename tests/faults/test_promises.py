"""docs/security.md and docs/reliability.md promise nothing that no test shows (`test_project.py`
sees to it that the tests they name exist), docs/performance.md names scripts that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", ["docs/security.md", "docs/reliability.md"])
def test_every_promise_names_a_test(page: str) -> None:
    rows = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| promise |", "| ---"))]
    assert len(promises) >= 8
    assert [row for row in promises if "`test_" not in row] == []


def test_every_benchmark_is_in_the_table() -> None:
    text = (ROOT / "docs/performance.md").read_text()
    named = set(re.findall(r"python (?:-m benchmarks\.|benchmarks/)(\w+)", text))
    there = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    parts = {"measure", "networks", "own_training", "peer_models", "step_probe"}
    assert named == there - parts - {"tuning"}
