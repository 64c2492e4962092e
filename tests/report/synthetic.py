"""A made-up run of any size: `python -m tests.report.synthetic FOLDER [PROMPTS]` writes one.

Eight contestants of one step count and more, with scores by prompt, a picture of every prompt and
contestant, and a result.json whose comparisons come from the project's own statistics.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from bench.report.runfiles import Array
from bench.results import summary as summaries
from bench.results.entries import Entry, write_entry
from bench.results.summary import Contestant, MetricValue, SecondsPerImage, Summary
from bench.statistics.comparisons import Scored, compare
from bench.statistics.result import Result, mean_result, share_result

METRICS = ("fid", "fid_teacher", "clip", "aesthetic", "hps", "faithful")
ROWS = (("lcm", 1), ("tcd", 1), ("tscd", 1), ("lcm", 4), ("tcd", 4), ("tscd", 4), ("hyper_sd", 4),
        ("teacher", 25))  # fmt: skip
DISTINCT = 100  # pictures of a contestant; further prompts link to them
MEMORY = 731 * 2**20
QUALITY = {"lcm": 0.35, "tcd": 0.45, "tscd": 0.5, "hyper_sd": 0.6, "teacher": 0.8}


def contestant(method: str, steps: int, prompts: int) -> Contestant:
    """A row without metrics."""
    return Contestant(
        f"{method}-{steps}step", method, steps, steps, f"{method}-{steps}", prompts, [0],
        "Apache-2.0", speed(steps), MEMORY,
    )  # fmt: skip


def speed(steps: int) -> SecondsPerImage:
    """Seconds that grow with the steps."""
    seconds = 0.004 + 0.0042 * steps
    return SecondsPerImage(16, seconds, 1.2 * seconds, 0.0005, seconds - 0.0038, 0.0033)


def scored(entry: Contestant, prompts: int, seed: int = 0) -> Scored:
    """Scores that rise with quality and steps; prompts are as hard for one as for another."""
    quality = QUALITY[entry.method] + 0.06 * np.log2(entry.steps or 1)
    hard = np.random.default_rng(seed).normal(size=(len(METRICS), prompts))
    own = np.random.default_rng(list(entry.name.encode())).normal(size=hard.shape)
    results = {
        metric: result(metric, quality, hard[i] + 0.6 * own[i]) for i, metric in enumerate(METRICS)
    }
    values = {
        name: MetricValue(
            r.value, r.low, r.high, prompts, f"{name}/1;weights=0", not name.startswith("fid"),
            "no", r.covers, r.parts, prompts,
        )
        for name, r in results.items()
    }  # fmt: skip
    return Scored(replace(entry, metrics=values), results)


def result(metric: str, quality: float, noise: Array) -> Result:
    """A metric's result where each prompt adds its noise; a distance has their influence."""
    n = len(noise)
    if metric.startswith("fid"):
        middle = 90 * (1.05 - quality) ** 2
        influence = noise * (0.4 + middle / 4)
        reach = 1.96 * influence.std() / n**0.5
        low, high = max(0.0, middle - reach), middle + reach
        return Result(
            middle, low, high, n, np.arange(n), None, influence, "expected value at this N"
        )
    if metric == "faithful":
        return share_result((0.3 * noise + quality > 0.35).astype(float), range(n))
    return mean_result(20 + 8 * quality + 1.5 * noise, range(n))


def write(folder: Path, prompts: int, rows: Sequence[tuple[str, int]] = ROWS) -> Summary:
    """The run folder of a made-up run of (method, steps); returns its Summary."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [scored(contestant(method, steps, prompts), prompts) for method, steps in rows]
    found = Summary(
        suite="synthetic", protocol="0f3a9c1d22aa", environment={"command": "made up"},
        seconds={"generate": 1.0}, contestants=[s.contestant for s in made],
        comparisons=compare(made), title="A made-up run",
    )  # fmt: skip
    for one in made:
        arrays = {f"{m}.prompts": np.arange(prompts) for m in METRICS}
        for name, result in one.results.items():
            if result.per_prompt is not None:
                arrays[name] = result.per_prompt
            else:
                arrays[f"{name}.influence"] = np.asarray(result.influence)
        path = folder / "scores" / f"{one.contestant.name}.safetensors"
        write_entry(path, Entry(arrays, {"contestant": one.contestant.name}))
        _pictures(folder / "images" / one.contestant.name, one.contestant, prompts)
    lines = ({"index": i, "text": f"a red circle beside {i} blue squares"} for i in range(prompts))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")
    summaries.write(found, folder / "result.json")
    return found


def _pictures(folder: Path, entry: Contestant, prompts: int, size: int = 64) -> None:
    """Soft blobs with grain, as heavy to compress as drawn pictures; repeated after DISTINCT."""
    folder.mkdir(parents=True, exist_ok=True)
    grain = 40 * (1 - QUALITY[entry.method])
    y, x = np.mgrid[0:size, 0:size] / size
    for i in range(prompts):
        path = folder / f"{i:05d}.png"
        if i >= DISTINCT:
            path.unlink(missing_ok=True)
            os.link(folder / f"{i % DISTINCT:05d}.png", path)
            continue
        rng = np.random.default_rng([i, len(entry.name)])
        (a, b), colour, paper = (
            rng.uniform(0.25, 0.75, 2),
            rng.uniform(0, 255, 3),
            rng.uniform(99, 240),
        )
        blob = np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.02)[..., None]
        pixels = paper + blob * (colour - paper) + rng.normal(0, grain, (size, size, 3))
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(path, compress_level=1)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5000)
