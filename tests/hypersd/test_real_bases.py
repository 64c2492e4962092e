"""Parts of a batch and recomputed activations give the batch's own gradients, of every method, on
small models of SDXL's and SD3's classes (that methods step there, in bf16: test_recipes.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hypersd import loop
from hypersd.recipe import Recipe
from tests.hypersd.real_models import make_pictures, make_sd3, make_sdxl
from tests.hypersd.trainings import rng

OPTIONS: dict[str, Any] = {"guidance": 2.0, "rank": 4}
STAGES = [{"segments": 4, "steps": 2, "adversarial": 0.5}]
MOVES = [{"from": 2, "to": 1, "steps": 1, "critic": "pair"},
         {"from": 1, "to": 1, "steps": 1, "output": "sample"}]  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "lcm": {},
    "tcd": {},
    "tscd": {"stages": STAGES, "options": OPTIONS | {"target": "ema"}},
    "pcm": {"stages": STAGES},
    "lightning": {"stages": MOVES},
    "dmd": {"options": OPTIONS | {"fake_updates": 1, "pairs": 3, "pair_steps": 2}},
    "dmd2": {"options": OPTIONS | {"fake_updates": 1, "gan": 0.1, "gan_critic": 0.1}},
    "tdm": {"options": OPTIONS | {"moves": 2}},
    "one_adapter": {"options": OPTIONS | {"fake_updates": 1, "gan_from": 0.0}},
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    make_pictures(folder / "set")
    return {"sdxl": make_sdxl(folder / "sdxl"), "sd3": make_sd3(folder / "sd3")}


def run(bases: dict[str, Path], kind: str, method: str, out: Path, **changes: Any) -> loop._Run:
    fields: dict[str, Any] = {
        "name": "trial", "method": method, "steps": 2, "batch": 4, "lr": 1e-2, "options": OPTIONS,
        "base": str(bases[kind]), "data": {"folder": str(bases[kind].parent / "set")},
        "prompts": ["a red bird"], **METHODS[method], **changes,
    }  # fmt: skip
    recipe = Recipe(**fields)
    return loop._Run(recipe, loop.build(recipe, torch.device("cpu")), out)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["sdxl", "sd3"])
def test_parts_and_recomputation_give_the_same_step(
    bases: dict[str, Path], kind: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERSD_CACHE", str(bases["sdxl"].parent))
    plain = run(bases, kind, method, tmp_path).update(rng())
    parts = run(bases, kind, method, tmp_path, accumulate=2, gradient_checkpointing=True)
    found = parts.update(rng())
    for name in plain:
        if name.endswith(("loss", "grad_norm")):
            assert found[name] == pytest.approx(plain[name], rel=2e-4), name
