"""How far half precision moves each metric: `python -m benchmarks.half_precision [n=500]`.

The world's trained networks, on real pictures of test scenes through the autoencoder, with their
captions: each metric in fp32, and what changes where the network runs in fp16 and in bf16, beside
the margin, the smallest difference that matters. Distances are to the usual reference, which fp32
made. Heads and all statistics stay in fp32 and float64.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from bench.metrics import extractor, metric
from bench.statistics import margins
from bench.statistics.metrics import METRICS
from benchmarks.measure import machine
from benchmarks.robustness import START, Shown, parts, round_trip
from hypersd.shapes import captions
from hypersd.shapes.render import render
from hypersd.shapes.scenes import sample_scene

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16}
NAMES = ("fid", "kid", "clip", "hps", "image_reward", "pick", "aesthetic", "faithful", "diversity")


def main(arguments: list[str]) -> None:
    """Print a Markdown table, write the values beside it."""
    n = int(dict(word.split("=", 1) for word in arguments).get("n", 500))
    scenes = [sample_scene("test", START + i) for i in range(n)]
    prompts = [captions.caption(scene) for scene in scenes]
    shown = Shown(round_trip(np.stack([render(scene) for scene in scenes])), prompts)
    found = {name: changes(name, shown) for name in NAMES}
    print("| metric | fp32 | fp16 | bf16 | margin |\n|---|---|---|---|---|")
    for name, row in found.items():
        print(f"| `{name}` | " + " | ".join(f"{value:.3g}" for value in row.values()) + " |")
    path = Path("runs/benchmarks/half_precision.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {"name": path.stem, "machine": machine(), "n": n, "values": found}
    path.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    print(f"\n{n} pictures; {machine()['words']}\n{path}")


def changes(name: str, shown: Shown) -> dict[str, float]:
    """A metric's value in fp32, what it changes by in each half precision, its margin."""
    plain = value(name, shown, None)
    moved = {words: value(name, shown, dtype) - plain for words, dtype in PRECISIONS.items()}
    return {"fp32": plain, **moved, "margin": margins.size(METRICS[name].margin, plain)}


def value(name: str, shown: Shown, dtype: torch.dtype | None) -> float:
    """A metric's value, its network under autocast to a precision; None: in fp32."""
    judge, calls = metric(name), shown.images
    network = extractor(judge.extractor)

    def cast_to(look: Callable[..., Any]) -> Callable[..., Any]:
        def looked(*words: Any) -> Any:
            with torch.autocast("cpu", dtype, enabled=dtype is not None):
                return look(*words)

        return looked

    if hasattr(judge, "encode"):
        judge = replace(cast(Any, judge), encode=cast_to(cast(Any, judge).encode), _texts={})
    look = cast_to(network)
    features = np.concatenate([look(calls[p], shown.prompts[p]) for p in parts(len(calls))])
    pairs = len(features) // 2 if METRICS[name].of_repeats else len(features)
    clusters = np.arange(len(features)) % pairs
    return float(judge.evaluate(features, shown.prompts, clusters.tolist()).value)


if __name__ == "__main__":
    main(sys.argv[1:])
