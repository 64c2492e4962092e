"""The check on the shipped weights, as CI runs it: minutes, so only with -m slow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.cli import main
from hypersd.shapes.weights import weights_path

WORDS = ["suite=shapes_check", "steps=[4]", "~contestants.tcd", "~contestants.tscd"]


@pytest.mark.slow
def test_shipped_weights_pass_damaged_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.numpy import load_file, save_file

    monkeypatch.chdir(tmp_path)
    weights = load_file(Path(weights_path("lcm")) / "pytorch_lora_weights.safetensors")
    damaged = {name: (0.9 * w).astype(w.dtype) for name, w in weights.items()}
    save_file({k: np.ascontiguousarray(w) for k, w in damaged.items()}, "damaged.safetensors")

    def checked(name: str, *words: str) -> int:
        assert main([*WORDS, f"out={name}", *words]) == 0
        return main(["task=check", f"run={name}", "baseline=./main"])

    assert main([*WORDS, "out=base"]) == 0
    assert main(["task=check", "run=base", "baseline=./main", "update=true"]) == 0
    assert checked("batch", "batch=16", "cache=other") == 0
    assert checked("guided", "contestants.lcm.guidance=7.5") == 1  # the pipeline's own default
    # Another solver over the same four points draws nearly the same: undecided at 200 prompts.
    assert checked("schedule", "contestants.lcm.scheduler=ddim") in (1, 3)
    # What a tenth less of the adapter does depends on how well it is trained; it may be undecided
    # at 200 prompts, but it is never let through.
    assert checked("damaged", "contestants.lcm.lora=damaged.safetensors") in (1, 3)
