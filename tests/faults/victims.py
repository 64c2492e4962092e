"""Small runs in processes of their own, which a test may kill, starve or race.

All of them are forked from one process that has imported everything and run nothing, so that a run
costs its own work and not the imports.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.judges import Judges

PRELOADED = (
    "bench.run.run", "bench.run.worker", "bench.contestants.source", "bench.contestants.pipelines",
    "bench.contestants.sampler", "bench.run.environment", "bench.statistics.claims",
    "bench.run.finish", "bench.report.write", "hypersd.loop", "hypersd.methods.lcm", "peft",
    "diffusers.loaders.lora_pipeline",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "diffusers.schedulers.scheduling_lcm", "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "bench.run.rows", "hydra", "bench.report.terminal", "matplotlib.backends.backend_svg",
    "antlr4", "diffusers.guiders",
)  # fmt: skip
SUITE = """
title: Tiny
version: 1
steps: [1]
prompts: {{set: shapes/test, n: 20}}
metrics: [fid, clip]
contestants:
  lcm: {{lora: "{lora}", base: "{base}"}}
  mine: {{recipe: mini.yaml, base: "{base}", like: lcm}}
  real: {{}}
"""
RECIPE = """
method: lcm
base: "{base}"
steps: 8
batch: 4
lr: 1.0e-3
checkpoint_every: 2
validate_every: 100
prompts: [a red circle]
trackers: []
data: {{set: shapes/train, n: 8}}
options: {{guidance: 3.0, points: 40, rank: 4, distance: huber, target: student}}
"""


def furnish(folder: Path, base: Path, lora: Path) -> None:
    """tiny.yaml and mini.yaml, on a tiny base."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(SUITE.format(base=base, lora=lora))
    (folder / "mini.yaml").write_text(RECIPE.format(base=base))


def cheap_judges(patch: Callable[[Any, str, Any], None] = setattr) -> Judges:
    """Metrics without networks, and slices of 10."""
    from bench.results import keys

    judges = Judges()
    judges.install(patch)
    patch(keys, "SLICE", 10)
    return judges


def suite_words(words: Sequence[str]) -> tuple[str, ...]:
    """The tiny suite in batches of 5, unless another one or a finished run is named."""
    named = any(word.startswith(("suite=", "run=")) for word in words)
    return () if named else ("suite=tiny.yaml", "device=cpu", "batch=5")


def start(
    folder: Path, *words: str, most_bytes: int | None = None, slowly: float = 0.0
) -> ForkServerProcess:
    """`python bench.py suite=tiny.yaml ...` in a folder, as a process; what it says is in
    said.txt, how many images each batch had in drawn.txt.

    most_bytes: of a file, above which writing fails as on a full disk.  slowly: seconds that
    drawing a batch takes longer.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(list(PRELOADED))
    process = forks.Process(target=_run, args=(folder, words, most_bytes, slowly))
    process.start()
    return process


def run(folder: Path, *words: str, **limits: Any) -> int:
    """The exit code of the same."""
    process = start(folder, *words, **limits)
    process.join(180)
    assert process.exitcode is not None, f"hangs: {said(folder)}"
    return process.exitcode


def said(folder: Path) -> str:
    """All that processes in a folder printed."""
    return (folder / "said.txt").read_text(errors="replace")


def _run(folder: Path, words: Sequence[str], most_bytes: int | None, slowly: float) -> None:
    import torch

    from bench.cli import main
    from bench.run import worker

    torch.set_num_threads(1)
    os.chdir(folder)
    out = open("said.txt", "a", buffering=1)  # noqa: SIM115 - until the process ends
    os.dup2(out.fileno(), 1), os.dup2(out.fileno(), 2)
    cheap_judges()
    drawn = worker.draw_batch

    def draw(source: Any, keys: Any) -> Any:
        time.sleep(slowly)
        with open("drawn.txt", "a") as log:
            log.write(f"{len(keys)}\n")
        return drawn(source, keys)

    worker.draw_batch = draw
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
    code = main([*suite_words(words), *words])
    sys.stdout.flush()
    os._exit(code)


def outcome(folder: Path, out: str = "run") -> dict[str, Any]:
    """All that must not depend on what happened on the way: numbers, images, weights."""
    from bench.results.entries import read_entry

    found = json.loads((folder / out / "result.json").read_text())
    entries = sorted((folder / "runs/cache/images").rglob("*.safetensors"))
    weights = sorted((folder / "runs/cache/trained").glob("*/final/*.safetensors"))
    pictures = sorted((folder / out / "images").rglob("*.png"))
    return {
        "numbers": [(c["name"], c["identity"], c["metrics"]) for c in found["contestants"]],
        "comparisons": found["comparisons"],
        "damaged": found["ledger"]["damaged_and_made_again"],
        "images": {e.stem: _sha256(read_entry(e).arrays["images"].tobytes()) for e in entries},
        "pictures": {
            str(p.relative_to(folder)): _sha256(Image.open(p).tobytes()) for p in pictures
        },
        "weights": {w.name: _sha256(w.read_bytes()) for w in weights},
    }


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
