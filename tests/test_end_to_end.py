"""bench.py as a user calls it, with the shipped weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hypersd import recipe

ROOT = Path(__file__).resolve().parents[1]
METRICS = {"fid", "fid_teacher", "clip", "aesthetic", "hps", "faithful"}


def bench(folder: Path, *words: str) -> str:
    """Standard output of a run in `folder`."""
    command = [sys.executable, str(ROOT / "bench.py"), *words]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def test_a_quick_run_of_one_step(tmp_path: Path) -> None:
    said = bench(tmp_path, "suite=shapes_1step", "limit=100", "out=run")
    assert "network evaluations" in said and "run/report.html" in said and "run/result.json" in said
    found = result(tmp_path / "run")
    rows = {c["name"]: c["metrics"] for c in found["contestants"]}
    assert set(rows) == {"teacher-25step", "lcm-1step", "tcd-1step", "tscd-1step",
                         "lightning-1step", "hyper_sd-1step", "real", "vae_round_trip",
                         "shuffled_captions"}  # fmt: skip
    assert all(set(metrics) == METRICS for metrics in rows.values())
    assert rows["real"]["faithful"]["value"] > 0.9
    assert rows["shuffled_captions"]["faithful"]["value"] < 0.1
    assert rows["real"]["clip"]["value"] > rows["shuffled_captions"]["clip"]["value"]
    assert rows["real"]["fid"]["value"] < rows["lcm-1step"]["fid"]["value"]


def test_a_candidate_is_trained_then_benchmarked(tmp_path: Path) -> None:
    """The suite's own recipe takes minutes; three steps of it show the way."""
    shipped = (recipe.FOLDER / "shapes_lcm_quick.yaml").read_text()
    for old, new in (("steps: 120", "steps: 3"), ("batch: 32", "batch: 4"), ("n: 4000", "n: 16")):
        assert old in shipped
        shipped = shipped.replace(old, new)
    (tmp_path / "mini.yaml").write_text(shipped)
    words = ("suite=shapes_candidate", "contestants.candidate.recipe=mini.yaml", "prompts.n=20")
    assert "train mini.yaml" in bench(tmp_path, *words, "task=plan")
    bench(tmp_path, *words, "out=first")
    candidate = result(tmp_path / "first")["contestants"][0]
    assert candidate["name"] == "candidate-4step"
    assert candidate["training"]["images_seen"] == 12
    bench(tmp_path, *words, "out=second", "seeds=[1]")
    assert result(tmp_path / "second")["seconds"]["train"] < 1
    assert len(list((tmp_path / "runs/cache/trained").iterdir())) == 1


@pytest.mark.slow
def test_the_candidate_suite_as_it_is_shipped(tmp_path: Path) -> None:
    bench(tmp_path, "suite=shapes_candidate", "out=run")
    candidate = result(tmp_path / "run")["contestants"][0]
    assert candidate["training"]["images_seen"] == 120 * 32
    assert candidate["n"] == 300
