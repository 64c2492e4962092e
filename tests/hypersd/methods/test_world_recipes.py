"""The world's recipes start and step: methods on a small base with shipped networks as rewards and
judges, and the networks that rate."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from hypersd import loop
from hypersd import recipe as recipes
from hypersd.errors import UsageError
from hypersd.methods import rewarded
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule
from hypersd.shapes.preference import VALIDATION, votes
from hypersd.shapes.raters import POOLS
from hypersd.shapes.weights import weights_path
from hypersd.student import Student
from tests.hypersd.gaussians import SCALED_LINEAR
from tests.hypersd.trainings import differ, rng, values

SHOWN_ELSEWHERE = ("shapes_lcm", "shapes_lcm_quick", "shapes_tcd", "shapes_tscd")  # their weights
METHODS = [
    name
    for name in recipes.names()
    if name.startswith("shapes_")
    and not recipes.load(name).method.startswith("shapes_")
    and name not in SHOWN_ELSEWHERE
]
RATERS = ("shapes_image_reward", "shapes_pick", "shapes_validation_raters")


@pytest.fixture(scope="module")
def place(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/train as other recipes leave it: a random adapter."""
    folder = tmp_path_factory.mktemp("world")
    unet = UNet2DConditionModel.from_pretrained(tiny_base, subfolder="unet")
    student = Student(unet, Schedule.from_config(SCALED_LINEAR), rank=4)
    for name in METHODS:
        options = recipes.load(name).options
        for key in ("init", "onto"):
            if options.get(key):
                student.export(folder / options[key])
    return folder


def small(name: str, base: Path) -> Recipe:
    """The recipe on another base, one step for each stage."""
    found = recipes.load(name)
    stages = [{**stage, "steps": 1} for stage in found.stages]
    changes: dict[str, Any] = {
        "base": str(base), "data": {"set": "shapes/train", "n": 4}, "batch": 2, "stages": stages,
        "steps": len(stages) or 1, "warmup": 0, "options.rank": 4,
    }  # fmt: skip
    less = {"pairs": 2, "pair_steps": 2, "fake_updates": 1}
    changes |= {f"options.{key}": value for key, value in less.items() if key in found.options}
    return recipes.load(name, changes)


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_recipe_starts_and_steps(
    place: Path, tiny_base: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(rewarded, "JUDGED", 2)
    recipe = small(name, tiny_base)
    made = loop._Run(recipe, loop.build(recipe, torch.device("cpu")), tmp_path)
    before = {role: values(made.of(role)) for role in made.optimizers}
    for made.step in range(recipe.steps):
        made.update(rng(made.step))
    for role, was in before.items():
        assert differ(made.of(role), was), role
    guard = getattr(made.task, "guard", None)
    assert (guard is not None) == bool(recipe.options.get("validation"))
    if guard is not None:
        assert set(guard.watch(recipe.steps)) == {"faithful", "preference"}


@pytest.mark.parametrize("name", RATERS)
def test_a_rater_learns_from_its_own_pool(name: str, tmp_path: Path) -> None:
    recipe = recipes.load(name, {"data": {"clip": str(weights_path("clip")), "n": 4}, "batch": 4})
    task: Any = loop.build(recipe, torch.device("cpu"))
    assert task.pool.name == recipe.options["pool"]
    run = loop._Run(recipe, task, tmp_path)
    first = run.turn("student", 1.0, rng())["loss"]
    for _ in range(4):
        last = run.turn("student", 1.0, rng())["loss"]
    assert last < first


def test_the_validation_pool_is_nobody_elses() -> None:
    """Other scenes, another utility; a vote for the better picture is likelier than not."""
    pools = [*POOLS.values(), VALIDATION]
    assert len({(p.faithful, p.power, tuple(p.style.items())) for p in pools}) == len(pools)
    starts = sorted(p.start for p in pools)
    assert min(b - a for a, b in pairwise(starts)) >= 1_000_000
    found = votes(VALIDATION, 0, 60)
    better = found.utilities[:, 0] > found.utilities[:, 1]
    assert 0.6 < float((found.first == better).mean()) < 1.0


def test_an_unknown_pool_is_one_line() -> None:
    data = {"clip": str(weights_path("clip")), "n": 1}
    recipe = recipes.load("shapes_pick", {"options.pool": "pik", "data": data})
    with pytest.raises(UsageError, match="did you mean 'pick'"):
        loop.build(recipe, torch.device("cpu"))
