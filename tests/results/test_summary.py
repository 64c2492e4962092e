"""result.json: what is written is read back, and what is damaged is said in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.results import summary
from bench.results.summary import (
    Claim,
    Comparison,
    Contestant,
    MetricValue,
    SecondsPerImage,
    Summary,
)


def example() -> Summary:
    value = MetricValue(25.0, 24.5, 25.5, 1000, "clip/1", True, "no", "mean", {"shape": 0.5})
    speed = SecondsPerImage(16, 0.01, 0.02, 0.001, 0.006, 0.003)
    training = summary.Training(1000, 2000, 1000, 60.0, "2 cores")
    row = Contestant(
        "lcm-1step", "lcm", 1, 1, "abc", 1000, [0], "Apache-2.0", speed, 123, training,
        {"clip": value},
    )  # fmt: skip
    anchor = Contestant("real", "real", None, None, "def", 1000, [0], "Apache-2.0")
    compared = Comparison("lcm-1step", "tcd-1step", "clip", 1, 0.5, 1.5, 0.01, 0.02, None, 1000)
    claim = Claim("it works", "undecided", "one seed", 1)
    return Summary(
        "shapes_1step", "0f", {"versions": {"torch": "2"}}, {"train": 0.0, "generate": 9.5},
        [row, anchor], [compared], [claim], {"failures": []}, title="One step", limit=None,
    )  # fmt: skip


def test_a_summary_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    summary.write(example(), path)
    assert summary.read(path) == example()
    assert summary.read(tmp_path) == example()
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_the_contract_of_schema_1(tmp_path: Path) -> None:
    summary.write(example(), tmp_path / "result.json")
    data = json.loads((tmp_path / "result.json").read_text())
    assert next(iter(data)) == "schema_version"
    assert set(data) >= {
        "schema_version", "suite", "protocol", "environment", "seconds", "contestants",
        "comparisons", "claims", "ledger",
    }  # fmt: skip
    row = data["contestants"][0]
    assert set(row) >= {
        "name", "method", "steps", "nfe", "identity", "n", "seeds", "licence",
        "seconds_per_image", "peak_memory_bytes", "training", "metrics",
    }  # fmt: skip
    assert set(row["metrics"]["clip"]) >= {
        "value", "low", "high", "n", "identity", "higher_is_better", "trained_on",
    }  # fmt: skip
    assert data["contestants"][1]["seconds_per_image"] is None


def test_unknown_fields_are_left_out_and_additions_may_be_missing() -> None:
    data = summary.to_json(example())
    data["from_the_future"] = 1
    del data["limit"]
    assert summary.from_json(data) == example()


def set_at(*keys: Any, value: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_at("schema_version", value=2), "schema_version is 2; this reads 1"),
        (set_at("suite", value=None), "suite=null: must be a text"),
        (set_at("contestants", value={}), r"contestants=\{\}: must be a list"),
        (
            set_at("contestants", 0, "n", value=True),
            r"\[0\]\.n=True: must be a whole number",
        ),
        (
            set_at("contestants", 0, "metrics", "clip", "trained_on", value="yes"),
            r"metrics\.clip\.trained_on=yes: .*valid: labels, network, no",
        ),
        (lambda data: data.pop("protocol"), "result.json: key 'protocol' is missing"),
        (
            lambda data: data["comparisons"][0].pop("delta"),
            r"comparisons\[0\]: key 'delta' is missing",
        ),
    ],
)
def test_damage_is_named_with_its_place(change: Callable[[Any], None], message: str) -> None:
    data = summary.to_json(example())
    change(data)
    with pytest.raises(UsageError, match=message):
        summary.from_json(data)


def test_a_file_that_is_cut_or_missing_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with pytest.raises(UsageError, match="cannot be read"):
        summary.read(path)
    path.write_text('{"schema_version": 1, ')
    with pytest.raises(UsageError, match="damaged, not JSON") as raised:
        summary.read(path)
    assert "\n" not in str(raised.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="damaged"):
        summary.read(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    summary.write(example(), path)
    broken = Summary("s", "p", {}, {"train": float("nan")}, [])
    with pytest.raises(ValueError, match="Out of range"):
        summary.write(broken, path)
    assert summary.read(path) == example()
    assert len(list(tmp_path.iterdir())) == 1
