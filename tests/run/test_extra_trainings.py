"""Trainings with other seeds, kept as scores and features, in a run's claims; on tiny models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from bench.contestants.files import LORA_FILE
from bench.metrics.frechet import FrechetDistance
from bench.metrics.references import ReferenceStatistics
from bench.results.entries import read_entry
from bench.run import extra_trainings
from tests.support.judges import Judges

Bench = Callable[..., int]
SUITE = """
title: Tiny
version: 1
steps: [1]
prompts: {set: shapes/test, n: 30}
metrics: [fid, clip]
contestants:
  tcd: {lora: tcd0}
  lcm: {lora: lcm0}
claims:
  - {a: tcd, is: better, than: lcm, metric: clip}
  - {a: tcd, is: not_worse, than: lcm, metric: fid}
"""
ROWS = ("tcd-1step", "lcm-1step")


def training(name: str, seed: int, lora: Path) -> None:
    """A training of `name` with a seed: its weights differ from those of another."""
    folder = Path(f"{name}{seed}")
    shutil.copytree(lora, folder)
    state = load_file(folder / LORA_FILE)
    scale = 1 + seed / 10 + (name == "lcm") / 3
    save_file({key: scale * value for key, value in state.items()}, folder / LORA_FILE)
    facts = {"recipe": f"shapes_{name}", "steps": 5, "images_seen": 80, "seed": seed}
    (folder / "training.json").write_text(json.dumps(facts))


@pytest.fixture
def trained(
    bench: Bench,
    world: Path,
    tiny_lora: Path,
    judges: Judges,
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    """The suite, with three trainings of either method; none is shipped."""
    drawn = np.random.default_rng(0).random((60, 48))
    real = ReferenceStatistics.of(drawn, name="real", extractor="patches/1")
    judges.metrics["fid"] = FrechetDistance(real, "patches")
    monkeypatch.setattr(extra_trainings, "FOLDER", world / "shipped")
    (world / "tiny.yaml").write_text(SUITE)
    for name in ("tcd", "lcm"):
        for seed in range(3):
            training(name, seed, tiny_lora)
    return bench


def result(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "result.json").read_text())
    return found


def with_seed(bench: Bench, seed: int) -> list[Path]:
    out = f"seed{seed}"
    words = [f"contestants.{name}.lora={name}{seed}" for name in ("tcd", "lcm")]
    assert bench(f"out={out}", *words) == 0
    return extra_trainings.keep(Path(out), ROWS)


def test_three_trainings_make_a_claim_of_a_run_with_one(trained: Bench, world: Path) -> None:
    assert trained("out=one") == 0
    for claim in result("one")["claims"]:
        assert claim["verdict"] == "undecided" and claim["why"].startswith("one training;")
    paths = [path for seed in (1, 2) for path in with_seed(trained, seed)]
    assert {path.name for path in paths} == {
        f"{row}.seed{seed}.safetensors" for row in ROWS for seed in (1, 2)
    }
    assert trained("out=three") == 0
    found = result("three")
    assert [c["name"] for c in found["contestants"]] == list(ROWS)
    assert [claim["training_seeds"] for claim in found["claims"]] == [3, 3]
    assert all("over 3 and 3 trainings" in claim["why"] for claim in found["claims"])
    assert found["ledger"]["not_compared"] == []
    for metric in ("clip", "fid"):
        claim = next(c for c in found["claims"] if c["metric"] == metric)
        runs = [result(name)["contestants"] for name in ("one", "seed1", "seed2")]
        tcd, lcm = (np.mean([r[i]["metrics"][metric]["value"] for r in runs]) for i in (0, 1))
        assert claim["delta"] == pytest.approx(tcd - lcm, rel=0.02, abs=1e-4)
        assert claim["bootstrap_low"] <= claim["delta"] <= claim["bootstrap_high"]

    assert trained("out=drawn", "contestants.lcm.guidance=2.0") == 0  # another contestant by now
    found = result("drawn")
    assert [claim["training_seeds"] for claim in found["claims"]] == [1, 1]
    assert sum("is drawn otherwise here" in why for why in found["ledger"]["not_compared"]) == 2


def test_what_is_kept_is_small_and_of_one_training(trained: Bench, world: Path) -> None:
    paths = with_seed(trained, 1)
    entry = read_entry(paths[0])
    assert entry.arrays["features.patches"].dtype == np.float16
    assert entry.arrays["clip"].dtype == np.float32
    assert entry.record["training"] == {
        "recipe": "shapes_tcd", "steps": 5, "images_seen": 80, "seed": 1,
    }  # fmt: skip
    assert trained("out=same", "contestants.tcd.lora=tcd1") == 0
    refused = result("same")["ledger"]["not_compared"]
    assert refused == ["tcd-1step.seed1.safetensors: training seed 1 is that of tcd-1step itself"]
    paths[0].write_bytes(paths[0].read_bytes()[:-9])
    assert trained("out=damaged") == 0
    assert any("not readable" in why for why in result("damaged")["ledger"]["not_compared"])


def test_a_training_may_be_shorter_where_its_own_watch_ended_it(trained: Bench) -> None:
    card = Path("tcd1", "training.json")
    facts = json.loads(card.read_text()) | {"steps": 3, "images_seen": 48}
    card.write_text(json.dumps(facts))
    with_seed(trained, 1)
    assert trained("out=shorter") == 0
    found = result("shorter")
    assert any("another training: steps 3, here 5" in w for w in found["ledger"]["not_compared"])
    card.write_text(json.dumps(facts | {"ended": "a validation figure fell"}))
    extra_trainings.keep(Path("seed1"), ROWS)
    assert trained("out=ended") == 0
    found = result("ended")
    assert found["ledger"]["not_compared"] == []
    assert [claim["training_seeds"] for claim in found["claims"]] == [2, 2]


def test_what_cannot_be_kept_is_one_line(
    trained: Bench, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extra_trainings.main(["nowhere", "tcd-1step"]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert trained("out=part", "limit=5") == 0
    assert extra_trainings.main(["part", "tcd-1step"]) == 2
    assert "was cut by limit=5" in capsys.readouterr().err
    (world / "tcd0" / "training.json").unlink()
    assert trained("out=run") == 0
    assert extra_trainings.main(["run", "tdc-1step"]) == 2
    assert "did you mean 'tcd-1step'" in capsys.readouterr().err
    assert extra_trainings.main(["run", "tcd-1step"]) == 2
    assert "no training.json beside tcd0" in capsys.readouterr().err


def test_the_weights_are_no_part_of_how_a_contestant_is_drawn() -> None:
    parts = {"weights": "a", "steps": 1}
    assert extra_trainings.like(parts) == extra_trainings.like({**parts, "weights": "b"})
    assert extra_trainings.like(parts) != extra_trainings.like({**parts, "steps": 2})
