"""How much each of the world's metrics changes with a picture's grain, and with its meaning:
`python -m benchmarks.robustness [n=500] [metrics=clip,hps]`.

Real pictures of test scenes that no prompt list and no reference has, with their captions. A
metric that means content stays where noise, JPEG, blur or the autoencoder leave the content alone,
and falls where a mirror, another hue or another caption does not. The first row holds values, the
others what changed; in brackets the share of what real pictures lose with each other's captions.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from bench.metrics import extractor, metric
from bench.statistics.metrics import METRICS
from benchmarks.measure import machine
from hypersd.shapes import captions
from hypersd.shapes.render import render
from hypersd.shapes.scenes import Scene, choose, generator, sample_scene
from hypersd.shapes.weights import weights_path

Images = NDArray[np.uint8]  # [N, 64, 64, 3]
Values = dict[str, float]  # by metric
START = 50_000  # between the prompts and the references of the test split
REPEATED = 50  # different pictures where pictures repeat; `diversity` compares those that would
BATCH = 100
WORLDS = [name for name, row in METRICS.items() if row.world is not None]
ATTRIBUTES = ("shape", "colour", "size", "relation", "count")


@dataclass(frozen=True)
class Shown:
    """The input of a metric: pictures and their prompts."""

    images: Images
    prompts: list[str]


def main(arguments: list[str]) -> None:
    """Print a Markdown table, write the values beside it."""
    given = dict(word.split("=", 1) for word in arguments)
    n, names = int(given.get("n", 500)), given.get("metrics", ",".join(WORLDS)).split(",")
    scenes = [sample_scene("test", START + i) for i in range(n)]
    real = Shown(np.stack([render(s) for s in scenes]), [captions.caption(s) for s in scenes])
    found = {"real": values(names, real, real)}
    found["captions of other pictures"] = values(names, exchanged(real), real)
    for name, disturbed in disturbances(scenes).items():
        found[name] = values(names, disturbed(real), real)
    print(table(found))
    path = Path("runs/benchmarks/robustness.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {"name": path.stem, "machine": machine(), "n": n, "values": found}
    path.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    print(f"\n{n} pictures; {machine()['words']}\n{path}")


def values(names: list[str], shown: Shown, real: Shown) -> Values:
    """Every metric's value; one that compares pictures with the teacher's is given the real ones in
    their place."""
    found = {}
    for name in names:
        judge = metric(name, {"against": "real pictures"} if METRICS[name].paired else {})
        network = extractor(judge.extractor)
        features = np.concatenate([
            network.between(shown.images[part], real.images[part]) if METRICS[name].paired
            else network(shown.images[part], shown.prompts[part])
            for part in parts(len(shown.images))
        ])  # fmt: skip
        clusters = np.arange(len(features)) % (
            REPEATED if METRICS[name].of_repeats else len(features)
        )
        found[name] = judge.evaluate(features, shown.prompts, clusters.tolist()).value
    return found


def parts(n: int) -> list[slice]:
    """Batches of n pictures."""
    return [slice(i, i + BATCH) for i in range(0, n, BATCH)]


def disturbances(scenes: list[Scene]) -> dict[str, Callable[[Shown], Shown]]:
    """Disturbances by name: those that keep the content, then those that change it."""
    of_pictures: dict[str, Callable[[Images], Images]] = {
        **{f"noise of {d}/255": partial(noised, deviation=d) for d in (8, 15)},
        **{f"JPEG, quality {q}": partial(jpeg, quality=q) for q in (50, 15)},
        **{f"blur of {d} pixels": partial(blurred, deviation=d) for d in (0.8, 1.5)},
        "VAE round trip": round_trip,
        "mirrored": lambda images: images[:, :, ::-1],
        "hue turned by 120 degrees": turned,
    }
    return {
        **{name: partial(_redrawn, change) for name, change in of_pictures.items()},
        "one value of the caption changed": partial(_told_otherwise, scenes),
        f"{REPEATED} pictures, repeated": _repeated,
    }


def noised(images: Images, deviation: float) -> Images:
    """With white noise, standard deviation in levels of 255."""
    grain = np.random.default_rng(0).standard_normal(images.shape)
    return _levels(images + deviation * grain)


def jpeg(images: Images, quality: int) -> Images:
    """Through Pillow's encoder and back."""
    return np.stack([_jpeg(image, quality) for image in images])


def _jpeg(image: Images, quality: int) -> Images:
    held = io.BytesIO()
    Image.fromarray(image).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held))


def blurred(images: Images, deviation: float) -> Images:
    """Convolved with a Gaussian, standard deviation in pixels."""
    spread = (0, deviation, deviation, 0)
    return _levels(gaussian_filter(images.astype(np.float64), spread, mode="nearest"))


def round_trip(images: Images) -> Images:
    """Encoded and decoded by the base's autoencoder."""
    from diffusers import AutoencoderKL

    from hypersd.shapes import vae

    found: Images = vae.round_trip(
        AutoencoderKL.from_pretrained(weights_path("base"), subfolder="vae"), images, BATCH
    )
    return found


def turned(images: Images) -> Images:
    """Every hue a third of the circle further: red things are green."""
    return np.stack([_turned(image) for image in images])


def _turned(image: Images) -> Images:
    hsv = np.array(Image.fromarray(image).convert("HSV"))
    hsv[..., 0] += 85
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


def exchanged(shown: Shown) -> Shown:
    """Each picture with its neighbour's prompt."""
    return Shown(shown.images, [*shown.prompts[1:], shown.prompts[0]])


def _redrawn(change: Callable[[Images], Images], shown: Shown) -> Shown:
    return Shown(change(shown.images), shown.prompts)


def _told_otherwise(scenes: list[Scene], shown: Shown) -> Shown:
    """Each prompt in its own words but for one value: an attribute and then a value, at random."""
    return Shown(shown.images, [_one_value_off(scene) for scene in scenes])


def _one_value_off(scene: Scene) -> str:
    phrasing = captions.sample_phrasing(generator(scene.split, scene.index, 1), scene)
    rng = np.random.default_rng(scene.index)
    pools = [found for name in ATTRIBUTES if (found := captions.variants(scene.spec, name))]
    return captions.phrase(choose(rng, choose(rng, pools)), phrasing)


def _repeated(shown: Shown) -> Shown:
    """The first pictures and their prompts again and again."""
    kept = np.arange(len(shown.prompts)) % REPEATED
    return Shown(shown.images[kept], [shown.prompts[i] for i in kept])


def _levels(pixels: NDArray[np.float64]) -> Images:
    return pixels.round().clip(0, 255).astype(np.uint8)


def table(found: dict[str, Values]) -> str:
    """Markdown: values of real pictures, and by how much each row differs from them."""
    (_, real), (_, other), *_ = found.items()
    lines = [f"| | {' | '.join(f'`{name}`' for name in real)} |", "|---" * (len(real) + 1) + "|"]
    for row, values in found.items():
        cells = [f"{real[name]:.3g}" if row == "real"
                 else cell(value - real[name], other[name] - real[name])
                 for name, value in values.items()]  # fmt: skip
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(change: float, span: float) -> str:
    """A change, and its share of the span between own and other captions, if the metric has one."""
    share = f" ({round(100 * change / span)} %)" if span else ""
    return f"{change:+.3g}{share}" if change else "0"


if __name__ == "__main__":
    main(sys.argv[1:])
