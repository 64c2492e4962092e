"""The best weights by a validation figure, the rule that ends a training, and `precision: auto`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hypersd import loop, precision
from hypersd.best import Best, BestOptions
from hypersd.errors import UsageError
from hypersd.lora.reader import WEIGHT_NAME
from hypersd.methods.tcd import TcdTask
from hypersd.recipe import Recipe
from tests.hypersd.trainings import assert_resumes_exactly

RECIPE = Recipe(
    name="trial", method="tcd", steps=6, batch=2, lr=5e-3, checkpoint_every=2, validate_every=1,
    data={"set": "shapes/train", "n": 6}, options={"guidance": 2.0, "rank": 4}, average=0.5,
    best=BestOptions(figure="figure"),
)  # fmt: skip


@pytest.fixture
def recipe(on_tiny_base: Callable[..., Recipe]) -> Callable[..., Recipe]:
    return lambda **changes: on_tiny_base(RECIPE, **changes)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], list[dict[str, Any]]]:
    """(values) -> what was drawn by at each validation; they give the values in order."""

    def give(values: list[float]) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []

        def preview(self: TcdTask, path: Path) -> dict[str, float]:
            state = self.student.parameters("student")
            seen.append({"weights": [p.detach().half() for p in state]})
            return {"figure": values[len(seen) - 1]}

        monkeypatch.setattr(TcdTask, "preview", preview)
        return seen

    return give


def test_the_best_is_kept_and_is_the_average_that_was_validated(
    recipe: Any, figures: Any, tmp_path: Path
) -> None:
    seen = figures([5.0, 3.0, 4.0, 3.0, 6.0, 7.0])
    final = loop.train(recipe(), tmp_path / "run")
    best = tmp_path / "run" / "best"
    card = json.loads((best / "training.json").read_text())
    assert (card["steps"], card["best_value"], card["best_step"]) == (2, 3.0, 2)
    assert json.loads((final / "training.json").read_text())["best_step"] == 2
    held = sorted(value.flatten()[0].item() for value in load_file(best / WEIGHT_NAME).values())
    drawn = sorted(value.flatten()[0].item() for value in seen[1]["weights"])
    assert held == pytest.approx(drawn)
    lines = [json.loads(line) for line in (tmp_path / "run" / "train.jsonl").open()]
    assert [line["best"] for line in lines if "best" in line] == [5.0, 3.0, 3.0, 3.0, 3.0]


def test_a_training_ends_where_nothing_better_came_for_so_long(
    recipe: Any, figures: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures([1.0, 2.0, 1.5, 1.5, 0.0])
    ends = BestOptions(figure="figure", better="higher", patience=2)
    final = loop.train(recipe(best=ends), tmp_path / "run")
    card = json.loads((final / "training.json").read_text())
    assert (card["steps"], card["best_step"]) == (4, 2)
    assert card["ended"] == "figure was best at step 2, 2 validations ago"
    assert "ended at step 4: figure was best at step 2" in capsys.readouterr().out


def test_figures_of_weights_that_a_guard_has_taken_back_are_not_the_bests(
    recipe: Any, figures: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Their preview was drawn before the guard restored what it had kept."""
    seen = figures([5.0, 1.0, 1.0])
    monkeypatch.setattr(TcdTask, "halted", lambda self: "it fell" if len(seen) > 1 else None)
    final = loop.train(recipe(), tmp_path / "run")
    card = json.loads((tmp_path / "run" / "best" / "training.json").read_text())
    assert (card["steps"], card["best_value"], card["best_step"]) == (1, 5.0, 1)
    assert json.loads((final / "training.json").read_text())["steps"] == 2


def test_validating_averages_leaves_the_training_as_it_is(
    recipe: Any, figures: Any, tmp_path: Path
) -> None:
    figures([1.0] * 12)
    watched = loop.train(recipe(), tmp_path / "watched")
    plain = loop.train(recipe(best=None), tmp_path / "plain")
    states = [load_file(folder / WEIGHT_NAME) for folder in (watched, plain)]
    assert all(torch.equal(states[1][key], value) for key, value in states[0].items())


def test_a_stopped_training_knows_its_best(recipe: Any, figures: Any, tmp_path: Path) -> None:
    figures([3.0, 1.0, 2.0, 4.0, 5.0, 6.0] * 3)
    assert_resumes_exactly(recipe(), TcdTask, 3, WEIGHT_NAME, tmp_path)
    card = json.loads((tmp_path / "stopped" / "final" / "training.json").read_text())
    assert card["best_step"] == 2


def test_a_figure_that_there_is_not_is_named() -> None:
    best = Best("trial", BestOptions(figure="teacher_distance_3step"))
    with pytest.raises(UsageError, match=r"best\.figure='teacher_distance_3step'; did"):
        best.found(1, {"teacher_distance_4step": 1.0})


def test_auto_takes_bf16_where_the_hardware_has_it(
    recipe: Any, monkeypatch: pytest.MonkeyPatch, no_previews: None, tmp_path: Path
) -> None:
    """The same recipe's identity on both; what was taken is in the card."""
    auto = recipe(precision="auto", best=None, steps=1)
    assert auto.identity == recipe(precision="bf16", best=None, steps=1).identity
    for there, taken in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(precision, "has_bf16", lambda device, there=there: there)
        final = loop.train(auto, tmp_path / taken)
        assert json.loads((final / "training.json").read_text())["precision"] == taken


def test_a_cpu_has_bf16_where_its_flags_say_so() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("no /proc/cpuinfo")
    flags = cpuinfo.read_text()
    there = "avx512_bf16" in flags or "amx_tile" in flags
    assert precision.has_bf16(torch.device("cpu")) == there
