"""A suite's run against the script that a user would write: `python -m benchmarks.naive
[suite=shapes_1step] [n=1000] [contestants=lcm,tcd,tscd]`.

The script: a diffusers pipeline per contestant, one prompt per call, a PNG per picture; then every
picture from disk through each evaluator in batches of 32, torchmetrics and clean-fid for the
arithmetic. It draws the same pictures (same generators) with the same networks, so the values must
agree; the largest relative difference of any of them stands in the table.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 32
METRICS = ("fid", "clip", "aesthetic", "hps")


def main(arguments: list[str]) -> None:
    """Both ways on the same prompts, in one process, ours first (it pays for the imports)."""
    from benchmarks.measure import Row, publish

    given = dict(word.split("=", 1) for word in arguments)
    name, n = given.get("suite", "shapes_1step"), int(given.get("n", 1000))
    chosen = given.get("contestants", "lcm,tcd,tscd").split(",")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        began = time.perf_counter()
        ours = run(folder, name, n, chosen)
        between = time.perf_counter()
        theirs = naive(folder / "naive", name, n, chosen)
        end = time.perf_counter()
    difference = max(abs(theirs[row][m] / ours[row][m] - 1) for row in ours for m in METRICS)
    what = f"{name}, {n} prompts, {len(chosen)} contestants, {', '.join(METRICS)}"
    note = f"largest relative difference of a value {difference:.1e}; ours writes the report, too"
    publish("naive", [Row(what, between - began, "one prompt per call", end - between, note)])


def run(folder: Path, name: str, n: int, chosen: list[str]) -> dict[str, dict[str, float]]:
    """Values by row and metric, of a whole run with nothing cached."""
    from bench.cli import main as bench
    from bench.cli.words import read
    from bench.suite import suite

    whole = read([f"suite={name}"]).suite
    assert isinstance(whole, suite.Suite)
    others = sorted({c.key for c in whole.contestants} - set(chosen))
    words = [f"suite={name}", f"prompts.n={n}", f"metrics=[{','.join(METRICS)}]"]
    words += [f"~contestants.{key}" for key in others]
    words += ["precomputed=false", f"out={folder / 'run'}", f"cache={folder / 'cache'}"]
    if bench(words) != 0:
        raise SystemExit("the run failed")
    found = json.loads((folder / "run/result.json").read_bytes())["contestants"]
    return {c["name"]: {m: v["value"] for m, v in c["metrics"].items()} for c in found}


def naive(folder: Path, name: str, n: int, chosen: list[str]) -> dict[str, dict[str, float]]:
    """The same values by the script."""
    from bench.cli.words import read
    from bench.results import places
    from bench.suite import prompts

    whole = read([f"suite={name}", f"prompts.n={n}"]).suite
    assert whole is not None
    texts = prompts.load(whole.prompt_set, whole.n, places.prompts()).texts
    values = {}
    for row in whole.rows:
        if row.settings.key in chosen:
            draw(folder / row.name, row, texts)
            values[row.name] = score(folder / row.name, texts)
    return values


def draw(folder: Path, row: Any, texts: tuple[str, ...]) -> None:
    """A pipeline, a call and a PNG per prompt."""
    import diffusers

    from bench.contestants.files import weight_file, weights_path
    from bench.contestants.sampler import generator
    from bench.contestants.schedulers import CLASSES
    from bench.results.keys import Key

    folder.mkdir(parents=True)
    pipeline: Any = diffusers.StableDiffusionPipeline.from_pretrained(
        weights_path(row.settings.base), safety_checker=None
    )
    pipeline.load_lora_weights(weight_file("", row.settings).parent)
    pipeline.set_progress_bar_config(disable=True)
    sampling = row.settings.sampling
    scheduler = getattr(diffusers, CLASSES[sampling.scheduler])
    pipeline.scheduler = scheduler.from_config(
        pipeline.scheduler.config, original_inference_steps=sampling.original_steps
    )
    for index, text in enumerate(texts):
        image = pipeline(
            text, num_inference_steps=row.steps, guidance_scale=sampling.guidance,
            eta=sampling.eta, generator=generator(Key(index, text, 0)),
        ).images[0]  # fmt: skip
        image.save(folder / f"{index:05d}.png")


def score(folder: Path, texts: tuple[str, ...]) -> dict[str, float]:
    """Every picture from disk through every evaluator, metric by metric as separate tools do."""
    import torch
    from torchmetrics import MeanMetric

    values = {}
    for metric in METRICS:
        network, mean, features = evaluator(metric), MeanMetric(), []
        for start in range(0, len(texts), BATCH):
            some = list(texts[start : start + BATCH])
            with torch.inference_mode():
                found = network(torch.from_numpy(pictures(folder, start, len(some))), some)
            if metric == "fid":
                features.append(found.double().numpy())
            else:
                mean.update(found)
        values[metric] = distance(np.concatenate(features)) if features else float(mean.compute())
    return values


def evaluator(metric: str) -> Callable[[Any, list[str]], Any]:
    """A newly loaded network: pictures and texts -> scores [B], or features [B, 64]."""
    from hypersd.shapes.evaluators import load_aesthetic, load_clip, load_features

    if metric == "fid":
        features = load_features("cpu")
        return lambda images, texts: features(images)
    clip = load_clip("hps" if metric == "hps" else "clip", "cpu")
    if metric == "aesthetic":
        head = load_aesthetic("cpu")
        return lambda images, texts: head(clip.encode_image(images))
    return lambda images, texts: 100 * (clip.encode_image(images) * clip.encode_text(texts)).sum(-1)


def pictures(folder: Path, start: int, count: int) -> np.ndarray:
    """Some pictures, decoded one by one."""
    from PIL import Image

    paths = [folder / f"{index:05d}.png" for index in range(start, start + count)]
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


def distance(features: np.ndarray) -> float:
    """clean-fid's arithmetic, to the shipped reference."""
    from cleanfid.fid import frechet_distance

    from bench import metrics

    judge: Any = metrics.metric("fid")
    mu, sigma = features.mean(axis=0), np.cov(features, rowvar=False)
    return float(frechet_distance(mu, sigma, judge.reference.mu, judge.reference.sigma))


if __name__ == "__main__":
    main(sys.argv[1:])
