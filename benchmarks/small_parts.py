"""Small functions that everything waits for, beside other libraries: `python -m
benchmarks.small_parts`.

Rendering of the world's scenes against Pillow's PNG of the same pictures, and the bootstrap of
`bench.statistics.intervals` against `scipy.stats.bootstrap`.
"""

from __future__ import annotations

import io

import numpy as np

from benchmarks.measure import Row, publish, seconds

SCENES, PROMPTS, RESAMPLES = 150, 1_000, 2_000


def main() -> None:
    """Print and write the rows."""
    publish("small_parts", [rendering(), bootstrap()])


def rendering() -> Row:
    """Pictures of scenes against their files."""
    from PIL import Image

    from hypersd.shapes.render import render
    from hypersd.shapes.scenes import sample_scene

    scenes = [sample_scene("train", index) for index in range(SCENES)]
    ours, pictures = seconds(lambda: [render(scene) for scene in scenes])
    files = [Image.fromarray(picture) for picture in pictures]
    theirs, _ = seconds(lambda: [one.save(io.BytesIO(), format="PNG") for one in files])
    return Row(f"{SCENES} renders of 64 px", ours, "Pillow: PNG of each", theirs)


def bootstrap() -> Row:
    """An interval of one metric on one contestant."""
    from scipy.stats import bootstrap as theirs

    from bench.statistics.intervals import bootstrap_interval

    x = np.random.default_rng(0).normal(size=PROMPTS)
    ours, (low, high) = seconds(lambda: bootstrap_interval(x, resamples=RESAMPLES))
    again, found = seconds(
        lambda: theirs((x,), np.mean, n_resamples=RESAMPLES, method="percentile", batch=250)
    )
    apart = np.abs(np.subtract((low, high), found.confidence_interval)).max()
    note = f"ends differ by {apart:.1g}"
    return Row(f"bootstrap of {PROMPTS} prompts", ours, "scipy", again, note)


if __name__ == "__main__":
    main()
