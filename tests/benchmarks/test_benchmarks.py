"""Every benchmark at a tiny size: it runs, ours and the peer give the same, its files hold both."""

from __future__ import annotations

import importlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
Measured = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Measured:
    """The rows that `python -m benchmarks.<name>` writes, in an empty folder."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)

    def run(name: str, *words: str) -> list[dict[str, Any]]:
        importlib.import_module(f"benchmarks.{name}").main(list(words))
        found = json.loads((tmp_path / f"runs/benchmarks/{name}.json").read_text())
        assert found["machine"]["versions"]["torch"] and found["machine"]["commit"]
        rows: list[dict[str, Any]] = found["rows"]
        printed = capsys.readouterr().out
        assert all(f"| {row['what']} | {row['ours']:.3g} |" in printed for row in rows)
        return rows

    return run


def test_start(measured: Measured) -> None:
    rows = measured("start", "repeats=1")
    assert [row["what"].split()[0] for row in rows] == ["--help", "task=plan", "task=plan"]
    assert 0 < rows[0]["ours"] < rows[1]["ours"]


@pytest.mark.slow
def test_overhead(measured: Measured) -> None:
    work, fixed = measured("overhead", "prompts.n=40")
    assert work["ours"] > work["theirs"] > 0 and fixed["ours"] > 0


@pytest.mark.slow
def test_naive(measured: Measured) -> None:
    (row,) = measured("naive", "n=40", "contestants=lcm")
    assert float(re.findall(r"value ([\d.e-]+);", row["note"])[0]) < 0.02


@pytest.mark.slow
def test_features(measured: Measured) -> None:
    clean, other = measured("features", "n=4", "side=320")
    differences = [float(row["note"].split()[-1]) for row in (clean, other)]
    assert differences[0] < 1e-3 < differences[1]


@pytest.mark.slow
def test_growth(measured: Measured) -> None:
    rows = measured("growth", "n=20,40", "contestants=1,2")
    assert len(rows) == 3 and rows[0]["ratio"] == 1


def test_time_within_networks_is_counted_once() -> None:
    from benchmarks.networks import timed

    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(0.05)
            return x

    call = nn.Module.__call__
    with timed() as found:
        nn.Sequential(nn.Sequential(Slow(), Slow()), Slow())(torch.zeros(1))
        time.sleep(0.2)
    assert found.calls == 1 and 0.15 <= found.seconds < 0.19
    assert nn.Module.__call__ is call
