"""Metrics of sets of pictures in every place that takes a metric: run, claims, page, check."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.metrics.base import Features
from bench.metrics.manifold import Precision, Recall
from bench.metrics.mmd import Discrepancy
from bench.metrics.references import ReferenceFeatures
from bench.statistics.result import Result
from tests.support.judges import Brightness, Judges, Patches

SUITE = """
title: Tiny
version: 1
steps: [1]
prompts: {set: shapes/test, n: 30}
metrics: [precision, recall, kid, fid_inf]
contestants:
  lcm: {lora: shapes/lcm, lora_scale: 10}
  half: {lora: shapes/lcm, lora_scale: 5, like: lcm}
claims:
  - {a: lcm, is: better, than: half, metric: precision}
  - {a: lcm, is: better, than: half, metric: recall}
  - {a: lcm, is: not_worse, than: half, metric: kid}
  - {a: lcm, is: equivalent, than: half, metric: fid_inf}
"""


@dataclass(frozen=True)
class Opaque(Brightness):
    """A value of the set that says nothing of single prompts, as a metric of one's own may."""

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        found = super().evaluate(features, prompts, clusters)
        return replace(found, per_prompt=None)


@pytest.fixture
def everything(world: Path, judges: Judges, bench: Callable[..., int]) -> Callable[..., Path]:
    """(name, *words) -> the folder of a run on sets of pictures."""
    from bench.contestants.source import renders

    judges.extractor = Patches(2)
    real = Patches(2)(renders("test", range(100, 160)), [""] * 60)
    reference = ReferenceFeatures("real", "patches/1", real)
    judges.metrics |= {
        "precision": Precision(reference, "patches"),
        "recall": Recall(reference, "patches"),
        "kid": Discrepancy("kid", reference, "patches", "polynomial"),
        "fid_inf": Opaque("fid_inf"),
    }
    (world / "tiny.yaml").write_text(SUITE)

    def run(name: str, *words: str) -> Path:
        assert bench(f"out={name}", *words) == 0
        return world / name

    return run


def held(folder: Path, file: str = "result.json") -> Any:
    return json.loads((folder / file).read_text())


def test_each_is_compared_or_named(everything: Callable[..., Path]) -> None:
    found = held(everything("run"))
    assert {row["metric"] for row in found["comparisons"]} == {"precision", "recall", "kid"}
    assert [line.split(": ")[0] for line in found["ledger"]["not_compared"]] == [
        "lcm-1step and half-1step on fid_inf"
    ]
    claims = {claim["metric"]: claim for claim in found["claims"]}
    assert all(claims[metric]["delta"] is not None for metric in ("precision", "recall", "kid"))
    assert claims["fid_inf"]["delta"] is None
    assert "cannot be tested" in claims["fid_inf"]["why"]
    page = (Path("run") / "report.html").read_text()
    assert "not tested by prompt: FID at infinity" in page


def test_each_is_checked_or_named(
    everything: Callable[..., Path], bench: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    everything("run")
    assert bench("task=check", "run=run", "baseline=./main", "update=true") == 0
    assert bench("task=check", "run=run", "baseline=./main") == 0
    assert {row["outcome"] for row in held(Path("run/check"), "check.json")["verdicts"]} <= {
        "pass", "skipped",
    }  # fmt: skip
    everything("other", "contestants.lcm.lora_scale=1")
    assert bench("task=check", "run=other", "baseline=./main") in (1, 3)
    rows = held(Path("other/check"), "check.json")["verdicts"]
    lcm = {row["subject"]: row for row in rows if row["contestant"] == "lcm-1step"}
    assert all(lcm[metric]["p"] is not None for metric in ("precision", "recall", "kid"))
    assert lcm["fid_inf"]["outcome"] == "skipped"
    assert "neither scores nor influences" in lcm["fid_inf"]["why"]
    assert "finish it with" not in capsys.readouterr().err


def test_features_behind_recall_are_kept(everything: Callable[..., Path]) -> None:
    from bench.results.entries import read_entry

    kept = read_entry(everything("run") / "features/lcm-1step.safetensors").arrays
    assert kept["patches"].shape == (30, 12)
    assert np.isfinite(kept["patches"]).all()
