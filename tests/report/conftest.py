"""A made-up run: real pictures and prompts of the world, scores drawn at random by prompt."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.results.summary import Contestant, MetricValue, Summary, Training
from bench.statistics.comparisons import Scored, compare
from bench.statistics.result import Result
from bench.statistics.step_response import step_responses
from hypersd.shapes import captions, render, scenes
from tests.report import synthetic

N = 300
QUALITY = {"lcm": 0.35, "tcd": 0.45, "tscd": 0.6, "teacher": 0.9, "real": 1.0,
           "vae_round_trip": 0.95, "shuffled_captions": 0.1, "mine": 0.3}  # fmt: skip


def contestant(name: str, method: str, steps: int | None, shipped: bool = False) -> Contestant:
    """A line of the result without metrics; anchors and shipped rows have no speed."""
    distilled = method in ("lcm", "tcd", "tscd")
    training = Training(24_000, 72_000, 24_000, 604.0, "2 CPU cores") if distilled else None
    return Contestant(
        name, method, steps, steps, f"{method}-0123456789abcdef", N, [0], "Apache-2.0",
        None if steps is None else synthetic.speed(steps),
        None if steps is None else synthetic.MEMORY, training, {}, shipped,
    )  # fmt: skip


def scored(entry: Contestant) -> Scored:
    """Scores that rise with the method's quality and the steps, and share noise by prompt."""
    quality = QUALITY.get(entry.method, 0.3) + 0.06 * np.log2(entry.steps or 1)
    shared, own = np.random.default_rng(7), np.random.default_rng(len(entry.name))
    results: dict[str, Result] = {}
    for metric in synthetic.METRICS:
        noise = shared.normal(size=N) + 0.6 * own.normal(size=N)
        results[metric] = synthetic.result(metric, quality, noise)
    parts = {"shape": 0.5 + quality / 2, "colour": 0.8, "relation": 0.4 + quality / 3}
    results["faithful"] = replace(results["faithful"], parts=parts)
    values = {m: value(m, r, entry.method) for m, r in results.items()}
    return Scored(replace(entry, metrics=values), results)


def value(metric: str, result: Result, method: str) -> MetricValue:
    """The part of a result that result.json keeps."""
    labels = metric == "aesthetic" and method.endswith("_feedback")
    return MetricValue(
        result.value, result.low, result.high, N, f"{metric}/1;weights=0123456789ab",
        not metric.startswith("fid"), "labels" if labels else "no", result.covers, result.parts,
    )  # fmt: skip


def _summary(steps: tuple[int, ...] = (1,), limit: int | None = None) -> Summary:
    """lcm, tcd and tscd at every step count, the teacher and three anchors."""
    methods = ("lcm", "tcd", "tscd")
    rows = [contestant(f"{m}-{s}step", m, s) for s in steps for m in methods]
    rows.append(contestant("teacher-25step", "teacher", 25, shipped=True))
    anchors = ("real", "vae_round_trip", "shuffled_captions")
    rows += [contestant(name, name, None, shipped=True) for name in anchors]
    made = [scored(row) for row in rows]
    environment = {
        "command": "python bench.py suite=shapes_1step",
        "commit": "43c29be",
        "versions": {"python": "3.11.9", "torch": "2.11.0", "diffusers": "0.36.0"},
        "hardware": {"cpu": "x86_64, 2 cores", "memory_gib": 8},
        "device": "cpu",
        "batch": 50,
    }
    return Summary(
        suite="shapes_1step", protocol="0f3a9c1d22aa", environment=environment,
        seconds={"train": 0.0, "generate": 61.2, "score": 11.4, "report": 0.8},
        contestants=[s.contestant for s in made], comparisons=compare(made),
        step_response=step_responses(made),
        ledger={"failures": [], "computed": {"slices": 30}, "reused": {"slices": 12}},
        title="One step on shapes", limit=limit,
    )  # fmt: skip


def _write_pictures(summary: Summary, run: Path, prompts: int = 12) -> None:
    """images/<contestant>/<index>.png, noisier where the method is worse, and prompts.jsonl."""
    chosen = [scenes.sample_scene("test", i) for i in range(prompts)]
    lines = [
        json.dumps({"index": i, "text": captions.caption(s)}, ensure_ascii=False)
        for i, s in enumerate(chosen)
    ]
    (run / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for entry in summary.contestants:
        folder = run / "images" / entry.name
        folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        amount = 90 * (1 - min(1.0, QUALITY.get(entry.method, 0.3)))
        for i, scene in enumerate(chosen):
            pixels = render.render(scene) + amount * rng.normal(size=(64, 64, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05d}.png")


@pytest.fixture(scope="session")
def example_summary() -> Callable[..., Summary]:
    """(steps=(1,), limit=None) -> a made-up Summary."""
    return _summary


@pytest.fixture(scope="session")
def write_pictures() -> Callable[..., None]:
    """(summary, run folder, prompts=12): write the run's pictures and prompts."""
    return _write_pictures


@pytest.fixture
def summary() -> Summary:
    """A whole run at one step."""
    return _summary()


@pytest.fixture
def run_folder(tmp_path: Path, summary: Summary) -> Path:
    """A run folder with pictures and prompts for `summary`."""
    _write_pictures(summary, tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """(run folder, Summary) of a made-up run with scores and pictures; read only."""
    folder = tmp_path_factory.mktemp("made") / "up"
    return folder, synthetic.write(folder, 40)
