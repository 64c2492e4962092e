"""The Frechet references of the world, made with `python -m bench.run.references [real] [teacher]`.

real: 10,000 test renders of scenes that no prompt list reaches.  teacher: the teacher's 25-step
pictures of test prompts that no suite uses, with a seed of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from hypersd.shapes.captions import caption
from hypersd.shapes.render import render
from hypersd.shapes.scenes import sample_scene

START = 100_000  # the first scene; prompt lists begin at 0
COUNTS = {"real": 10_000, "teacher": 2_000}
SEED = 1_000_003  # of the teacher's pictures; contestants are drawn with small seeds
BATCH = 50

Batch = tuple[NDArray[np.uint8], list[str]]


def real(count: int) -> Iterator[Batch]:
    """Renders and their captions, batch by batch."""
    for start in range(START, START + count, BATCH):
        scenes = [sample_scene("test", i) for i in range(start, start + BATCH)]
        yield np.stack([render(s) for s in scenes]), [caption(s) for s in scenes]


def teacher(count: int) -> Iterator[Batch]:
    """The teacher's pictures at 25 steps, batch by batch."""
    from bench.contestants import pipelines
    from bench.contestants.sampler import Sampler
    from bench.results.keys import Key
    from bench.suite.sampling import LIKE
    from hypersd.shapes.weights import weights_path

    pipeline = pipelines.base(weights_path("base"), pipelines.device_of("cpu"))
    sampler = Sampler(pipeline, LIKE["teacher"], steps=25, size=64)
    for start in range(START, START + count, BATCH):
        prompts = [caption(sample_scene("test", i)) for i in range(start, start + BATCH)]
        keys = [Key(start + i, prompt, SEED) for i, prompt in enumerate(prompts)]
        yield sampler(keys).images, prompts


def main(names: list[str]) -> None:
    """Write `reference/<name>.safetensors` among the shipped weights."""
    from bench.metrics import extractor
    from bench.metrics.references import ReferenceStatistics, path_of

    seen_by = extractor("shapes_features", "cpu")
    for name in names or list(COUNTS):
        batches = {"real": real, "teacher": teacher}[name](COUNTS[name])
        shown = track(batches, f"reference {name}", total=COUNTS[name] // BATCH)
        features = np.concatenate([seen_by(*batch) for batch in shown])
        path = path_of(seen_by.network, name)
        ReferenceStatistics.of(features, name=name, extractor=seen_by.identity).save(path)
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
