"""Every promise of docs/guarantees.md names a test (`test_project.py` checks that it exists), and
docs/performance.md names every benchmark."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_promise_names_a_test() -> None:
    lines = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| promise |", "| ---"))]
    assert len(promises) >= 30
    assert [row for row in promises if "`test_" not in row] == []


def test_every_benchmark_is_in_the_table() -> None:
    text = (ROOT / "docs/performance.md").read_text()
    named = set(re.findall(r"python (?:-m benchmarks\.|benchmarks/)(\w+)", text))
    there = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    parts = {"measure", "networks", "own_training", "peer_models", "step_probe"}
    assert named == there - parts - {"tuning"}
