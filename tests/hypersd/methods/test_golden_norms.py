"""Loss and gradient norm of every role's first turn, by method, as they were when all other tests
of the methods passed: what no other test is about must not change by accident. They hold for the
random weights that the libraries of then gave, whose sum stands beside them (`weights`).

Made again by `python -m tests.hypersd.methods.test_golden_norms`, where a change means to change
them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hypersd import loop
from hypersd.recipe import Recipe
from tests.hypersd.real_models import make_pictures, make_sd15
from tests.hypersd.real_rewards import make_clip, make_laion
from tests.hypersd.trainings import rng

GOLDENS = Path(__file__).with_name("golden_norms.json")
OPTIONS: dict[str, Any] = {"guidance": 2.0, "rank": 4}
STAGES = [{"segments": 4, "steps": 1, "adversarial": 0.5}]
METHODS: dict[str, dict[str, Any]] = {
    "lcm": {},
    "tcd": {},
    "tscd": {"stages": STAGES, "options": OPTIONS | {"target": "ema", "offset_noise": 0.1}},
    "pcm": {"stages": STAGES},
    "lightning": {"stages": [{"from": 4, "to": 1, "steps": 1, "critic": "pair", "noised": True}]},
    "dmd": {"options": OPTIONS | {"fake_updates": 1, "pairs": 2, "pair_steps": 2}},
    "dmd2": {"options": OPTIONS | {"fake_updates": 1, "gan": 0.1, "gan_critic": 0.1}},
    "tdm": {"options": OPTIONS | {"moves": 2}},
    "one_adapter": {"options": OPTIONS | {"fake_updates": 1, "gan_from": 0.0}},
    "feedback": {"options": {"rank": 4, "moves": 2}},
}


def make(folder: Path) -> Path:
    """A base, pictures and a reward."""
    make_sd15(folder / "base")
    make_pictures(folder / "set")
    make_laion(folder / "head.pth")
    make_clip(folder / "clip")
    return folder


def weights(place: Path) -> float:
    """The sum of all magnitudes of the base's weights and of the reward's CLIP."""
    files = sorted(
        [*(place / "base").rglob("*.safetensors"), *(place / "clip").rglob("*.safetensors")]
    )
    total = sum(float(v.double().abs().sum()) for path in files for v in load_file(path).values())
    return float(f"{total:.6g}")


def measured(place: Path, method: str) -> dict[str, float]:
    """Loss and gradient norm of each role in the first step, on one thread."""
    fields: dict[str, Any] = {"options": OPTIONS, **METHODS[method]}
    if method == "feedback":
        reward = {"kind": "laion", "folder": str(place / "head.pth"), "target": 5.0,
                  "clip": str(place / "clip")}  # fmt: skip
        fields["options"] = fields["options"] | {"rewards": [reward]}
    recipe = Recipe(
        name="golden", method=method, steps=1, batch=4, lr=1e-3, base=str(place / "base"),
        data={"folder": str(place / "set")}, trackers=[], prompts=["a red bird"], **fields,
    )  # fmt: skip
    run = loop._Run(recipe, loop.build(recipe, torch.device("cpu")), place)
    found = run.update(rng(7))
    names = ("loss", "grad_norm")
    return {k: float(f"{v:.6g}") for k, v in found.items() if k.rpartition("/")[2] in names}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("method", METHODS)
def test_the_first_step_is_what_it_was(
    place: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERSD_CACHE", str(place))
    held = json.loads(GOLDENS.read_text())
    if weights(place) != held["weights"]:
        pytest.skip("these versions of the libraries give other random weights")
    expected = held[method]
    assert measured(place, method) == pytest.approx(expected, rel=2e-3)


def main() -> None:
    """Write the golden values."""
    import os

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYPERSD_CACHE"] = folder
        place = make(Path(folder))
        values = {"weights": weights(place)} | {m: measured(place, m) for m in METHODS}
    GOLDENS.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
