"""Every benchmark at a tiny size: it runs, ours and the peer give the same, its files hold both."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]


def measured(folder: Path, name: str, *words: str) -> list[dict[str, Any]]:
    """The rows that `python -m benchmarks.<name>` writes, run in a folder."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *words]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1",
                   "HF_HUB_OFFLINE": "1", "HOME": str(folder)}  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((folder / f"runs/benchmarks/{name}.json").read_text())
    assert found["machine"]["versions"]["torch"] and found["machine"]["commit"]
    assert done.stdout.count("\n| ") >= 1 + len(found["rows"])
    rows: list[dict[str, Any]] = found["rows"]
    assert all(row["ratio"] == pytest.approx(row["theirs"] / row["ours"]) for row in rows)
    return rows


def test_start(tmp_path: Path) -> None:
    rows = measured(tmp_path, "start", "repeats=1")
    assert [row["what"].split()[0] for row in rows] == ["--help", "task=plan", "task=plan"]


def test_frechet(tmp_path: Path) -> None:
    rows = measured(tmp_path, "frechet", "dimension=32", "n=200")
    for row in rows:
        assert float(re.findall(r"[\d.e-]+$", row["note"])[0]) < 1e-4


@pytest.mark.slow
def test_overhead(tmp_path: Path) -> None:
    work, fixed = measured(tmp_path, "overhead", "prompts.n=40")
    assert work["ours"] > work["theirs"] > 0 and fixed["ours"] > 0


@pytest.mark.slow
def test_naive(tmp_path: Path) -> None:
    (row,) = measured(tmp_path, "naive", "n=40", "contestants=lcm")
    assert float(re.findall(r"value ([\d.e-]+);", row["note"])[0]) < 0.02


@pytest.mark.slow
def test_features(tmp_path: Path) -> None:
    clean, other = measured(tmp_path, "features", "n=4", "side=320")
    differences = [float(row["note"].split()[-1]) for row in (clean, other)]
    assert differences[0] < 1e-3 < differences[1]


@pytest.mark.slow
def test_growth(tmp_path: Path) -> None:
    rows = measured(tmp_path, "growth", "n=20,40", "contestants=1,2")
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
