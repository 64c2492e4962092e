"""The references of the world: `python -m bench.run.references [NAME ...]` makes them.

real: statistics of 10,000 renders of test scenes that no prompt list reaches.  real_features: the
features of 2,000 of them, for distances that need single features.  teacher: of the teacher's
25-step pictures of 2,000 test prompts that no suite uses, with a seed of their own.
`..._validation`: the same of validation scenes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from bench.errors import UsageError, exit_code, nearest
from bench.metrics.references import SPLITS, ReferenceFeatures, of_split
from hypersd.package_data import need_checkout
from hypersd.shapes.captions import caption
from hypersd.shapes.render import render
from hypersd.shapes.scenes import sample_scene

START = 100_000  # the first scene; prompt lists begin at 0
COUNTS = {"real": 10_000, "real_features": 2_000, "teacher": 2_000}
NAMES = {of_split(of, split): (of, split) for split in SPLITS for of in COUNTS}
SEED = 1_000_003  # of the teacher's pictures; contestants are drawn with small seeds
BATCH = 50

Batch = tuple[NDArray[np.uint8], list[str]]


def real(split: str, count: int) -> Iterator[Batch]:
    """Renders and their captions, batch by batch."""
    for start in range(START, START + count, BATCH):
        scenes = [sample_scene(split, i) for i in range(start, start + BATCH)]
        yield np.stack([render(s) for s in scenes]), [caption(s) for s in scenes]


def teacher(split: str, count: int) -> Iterator[Batch]:
    """The teacher's pictures at 25 steps, batch by batch."""
    from bench.contestants import pipelines
    from bench.contestants.sampler import Sampler
    from bench.results.keys import Key
    from bench.suite.sampling import LIKE
    from hypersd.shapes.weights import weights_path

    pipeline = pipelines.base(weights_path("base"), pipelines.device_of("cpu"))
    sampler = Sampler(pipeline, LIKE["teacher"], steps=25, size=64)
    for start in range(START, START + count, BATCH):
        prompts = [caption(sample_scene(split, i)) for i in range(start, start + BATCH)]
        keys = [Key(start + i, prompt, SEED) for i, prompt in enumerate(prompts)]
        yield sampler(keys).images, prompts


def make(name: str) -> str:
    """Write `reference/<name>.safetensors` among the shipped weights; its path.

    Raises UsageError for an unknown name, and outside of a checkout.
    """
    from bench.metrics import extractor
    from bench.metrics.references import path_of

    if name not in NAMES:
        raise UsageError(f"no reference {name!r}; {nearest(name, NAMES)}")
    need_checkout("hypersd")
    of, split = NAMES[name]
    seen_by = extractor("shapes_features", "cpu")
    batches = (teacher if of == "teacher" else real)(split, COUNTS[of])
    shown = track(batches, f"reference {name}", total=COUNTS[of] // BATCH)
    features = np.concatenate([seen_by(*batch) for batch in shown])
    kept = ReferenceFeatures(name, seen_by.identity, features)
    path = path_of(seen_by.network, name)
    (kept if of == "real_features" else kept.statistics).save(path)
    return str(path)


def main(names: list[str]) -> int:
    """Make the named ones, or all; 0 when done, 2 for what the user must change."""
    return exit_code(lambda: print(*map(make, names or NAMES), sep="\n"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
