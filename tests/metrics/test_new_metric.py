"""Every row can be made; a metric that is one file and one row is measured, compared and shown."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.errors import UsageError
from bench.metrics import metric, network_of
from bench.metrics.networks import by_name
from bench.report.words import metric_words
from bench.statistics import margins
from bench.statistics.metrics import METRICS, Maker, MetricSpec, measured_on

ROOT = Path(__file__).resolve().parents[2]
FILE = """
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.metrics.base import HeldOut
from bench.metrics.networks.base import Network
from bench.statistics.result import Result, mean_result


@dataclass(frozen=True)
class Loudness(HeldOut):
    network: str
    extractor: str
    times: float

    name: ClassVar[str] = "loudness"
    higher_is_better: ClassVar[bool] = False

    @property
    def identity(self) -> str:
        return f"loudness/1;{self.times:g}*length;{self.network}"

    def evaluate(
        self, features: Any, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        lengths = (features.astype("float64") ** 2).sum(axis=1) ** 0.5
        return mean_result(self.times * lengths, clusters)


def loudness(name: str, network: Network, settings: Mapping[str, str]) -> Loudness:
    return Loudness(network.identity, network.name, float(settings.get("times", "1")))
"""
ROW = MetricSpec(
    "Loudness of features",
    "How far are features from nothing?",
    margin="50%",
    world=Maker(
        "my_loudness:loudness", "bench.metrics.networks.world:ShapesFeatures", keys=("times",)
    ),
)
SUITE = """
title: Two folders
version: 1
steps: [1]
prompts: {set: shapes/test, n: 12}
metrics: {loudness: {times: 2}, clip: {}}
contestants:
  a: {images: a}
  b: {images: b}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the suite, its pictures, and the metric's file and row."""
    (tmp_path / "my_loudness.py").write_text(FILE)
    (tmp_path / "suite.yaml").write_text(SUITE)
    for seed, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        rng = np.random.default_rng(seed)
        for index in range(12):
            picture = rng.integers(0, 256 >> seed, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / name / f"{index:05d}.png")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(METRICS, "loudness", ROW)
    return tmp_path


def test_one_file_and_one_row_are_all_of_a_metric(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["suite=suite.yaml", "out=run", "cache=cache", "device=cpu"]) == 0
    result = json.loads((folder / "run/result.json").read_text())
    values = [contestant["metrics"]["loudness"] for contestant in result["contestants"]]
    assert [value["trained_on"] for value in values] == ["no", "no"]
    assert all(value["identity"].startswith("loudness/1;2*length;shapes_f") for value in values)
    (compared,) = [row for row in result["comparisons"] if row["metric"] == "loudness"]
    b = next(c for c in result["contestants"] if c["name"] == compared["b"])
    assert compared["equivalence"]["margin"] == b["metrics"]["loudness"]["value"] / 2
    page = (folder / "run/report.html").read_text()
    assert "Loudness of features" in page and "How far are features from nothing?" in page
    assert "Loudness of features" in capsys.readouterr().out


def test_the_example_of_the_docs_is_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    file, row = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[:2]
    module = ModuleType("bench.metrics.entropy")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(file, vars(module))
    rows = eval(f"{{{row}}}", {"Maker": Maker, "MetricSpec": MetricSpec})
    monkeypatch.setitem(METRICS, "entropy", rows["entropy"])
    made = metric("entropy")
    assert made.identity.endswith(metric("diversity").identity.partition("seeds;")[2])
    features = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 2, 1]], np.float32)
    found = made.evaluate(features, [""] * 3, [0, 1, 2])
    assert found.per_prompt is not None
    assert found.per_prompt[:2] == pytest.approx([0, 0], abs=1e-9)
    assert 1.0 < found.per_prompt[2] < math.log(4)


def test_the_worlds_networks_have_no_settings() -> None:
    with pytest.raises(UsageError, match=r"clip: no setting 'model'; it has none on these"):
        metric("clip", {"model": "ViT-L-14"})


def test_its_settings_are_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del folder
    main(["suite=suite.yaml", "metrics.loudness.tiems=3", "cache=cache", "task=plan"])
    said = " ".join(capsys.readouterr().out.split())
    assert "missing: metrics.loudness: no setting 'tiems'; did you mean 'times'?" in said


@pytest.mark.parametrize("name", METRICS)
def test_a_row_says_what_a_reader_and_a_run_need(name: str) -> None:
    row = METRICS[name]
    assert row.title != name and row.asks
    assert margins.size(margins.of(name), 1.0) > 0
    families = {True: row.published, False: row.world}
    found = [network_of(name, published=p) for p, maker in families.items() if maker is not None]
    assert found and all(by_name(network.name) == network for network in found)


def test_a_metric_without_a_row_is_called_by_its_name() -> None:
    words = metric_words("of another checkout")
    assert (words.title, words.asks) == ("of another checkout", "")


def test_docs_say_of_every_metric_what_it_is_comparable_with() -> None:
    """A row in the table for each of published networks, a section for each of the world's."""
    text = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    table = text.partition("| metric | comparable with | not with |\n|---|---|---|\n")[2]
    rows = table.partition("\n\n")[0].splitlines()
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == set(measured_on(published=True))
    headings = re.findall(r"^## .*$", text.partition("## What moves them")[0], re.MULTILINE)
    sections = set(re.findall(r"`(\w+)`", " ".join(headings)))
    missing = set(measured_on(published=False)) - sections
    assert all(name.startswith("skill") for name in missing)  # one section for all of them
