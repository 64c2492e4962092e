"""Every method starts and steps on small models of SD1.5's and SDXL's classes; parts of a batch and
recomputed activations give the batch's own gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from real_models import make_pictures, make_sd15, make_sdxl
from trainings import differ, rng, values

from hypersd import loop
from hypersd.recipe import Recipe

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
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    make_pictures(folder / "set")
    return {"sd15": make_sd15(folder / "sd15"), "sdxl": make_sdxl(folder / "sdxl")}


def run(bases: dict[str, Path], kind: str, method: str, out: Path, **changes: Any) -> loop._Run:
    fields: dict[str, Any] = {
        "name": "trial", "method": method, "steps": 2, "batch": 4, "lr": 1e-2, "options": OPTIONS,
        "base": str(bases[kind]), "data": {"folder": str(bases[kind].parent / "set")},
        "prompts": ["a red bird"], **METHODS[method], **changes,
    }  # fmt: skip
    recipe = Recipe(**fields)
    return loop._Run(recipe, loop.build(recipe, torch.device("cpu")), out)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@pytest.mark.parametrize("method", METHODS)
def test_it_steps_on_a_bf16_base(
    bases: dict[str, Path], kind: str, method: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HYPERSD_CACHE", str(bases[kind].parent))
    made = run(bases, kind, method, tmp_path, base_precision="bf16", precision="bf16",
               gradient_checkpointing=True)  # fmt: skip
    before = {role: values(made.of(role)) for role in made.optimizers}
    unet = made.task.modules["unet"]
    base = {k: v.clone() for k, v in unet.state_dict().items() if ".lora_" not in k}
    for made.step in range(2):
        made.update(rng(made.step))
    for role, was in before.items():
        assert differ(made.of(role), was)
        assert {p.dtype for p in made.of(role)} == {torch.float32}
    now = unet.state_dict()
    assert all(torch.equal(now[key], value) for key, value in base.items())
    assert {v.dtype for v in base.values()} == {torch.bfloat16}


@pytest.mark.parametrize("method", METHODS)
def test_parts_and_recomputation_give_the_same_step(
    bases: dict[str, Path], method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERSD_CACHE", str(bases["sdxl"].parent))
    plain = run(bases, "sdxl", method, tmp_path).update(rng())
    parts = run(bases, "sdxl", method, tmp_path, accumulate=2, gradient_checkpointing=True)
    found = parts.update(rng())
    for name in plain:
        if name.endswith(("loss", "grad_norm")):
            assert found[name] == pytest.approx(plain[name], rel=2e-4), name
