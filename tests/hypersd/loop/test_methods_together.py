"""The real methods on two gloo processes, as torchrun starts them: the same losses as one process
with the same batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
RECIPES = {
    "shapes_lcm": "[]",
    "shapes_tcd": "[]",
    "shapes_hyper_sd_tscd": "[{segments: 4, steps: 1, adversarial: 0.1}, "
                            "{segments: 1, steps: 1, adversarial: 0.1}]",
    "shapes_lightning": "[{from: 8, to: 4, steps: 1}, "
                        "{from: 4, to: 2, steps: 1, critic: pair, distance: 1.0}]",
    "shapes_pcm": "[{segments: 4, steps: 2, adversarial: 0.1}]",
    "shapes_dmd": "[]",
    "shapes_dmd2": "[]",
    "shapes_tdm": "[]",
    "shapes_feedback": "[]",
}  # fmt: skip

pytestmark = pytest.mark.slow


def losses(command: list[str], name: str, out: Path) -> list[dict[str, float]]:
    """The log of two steps of four pictures, in fp32."""
    words = [f"recipe={name}", f"out={out}", "steps=2", f"stages={RECIPES[name]}", "batch=4",
             "precision=fp32", "warmup=0", "data.n=16", "validate_every=100",
             "trackers=[]"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HYPERSD_CACHE": str(out.parent / "cache")}
    done = subprocess.run(
        [sys.executable, *command, "hypersd", *words], cwd=ROOT, env=env, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_have_the_losses_of_one(name: str, tmp_path: Path) -> None:
    one = losses(["-m"], name, tmp_path / "one")
    two = losses([*TORCHRUN, "-m"], name, tmp_path / "two")
    keys = [key for key in one[0] if key.endswith(("loss", "distance", "mse"))]
    assert keys
    for alone, together in zip(one, two, strict=True):
        for key in set(keys) & set(alone):
            assert together[key] == pytest.approx(alone[key], rel=1e-5, abs=1e-7), key
