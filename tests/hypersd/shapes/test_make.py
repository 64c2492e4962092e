"""The order in which the shipped weights are made: all of them, each after what it begins with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hypersd import recipe as recipes
from hypersd.errors import UsageError
from hypersd.shapes import make
from hypersd.shapes.weights import NAMES, training


def test_every_shipped_weight_is_trained_then_shipped() -> None:
    steps = make.order()
    assert sorted(name for kind, name in steps if kind == "ship") == sorted(NAMES)
    assert len(set(steps)) == len(steps)
    for name in NAMES:
        assert steps.index(("train", training(name)[0])) < steps.index(("ship", name))


def test_a_training_comes_after_what_it_begins_with() -> None:
    steps = make.order()
    trained = [name for kind, name in steps if kind == "train"]
    assert set(trained) <= set(recipes.names())
    for i, name in enumerate(trained):
        text = (recipes.FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
        assert set(re.findall(r"runs/train/(\w+)/", text)) <= set(trained[:i]), name


def test_a_training_comes_after_the_weights_that_it_loads() -> None:
    steps = make.order()
    feedback = steps.index(("train", "shapes_lcm_feedback"))
    for name in ("base", "segmenter", "reward_aesthetic", "reward_clip", "image_reward",
                 "oracle_validation", "validation_raters"):  # fmt: skip
        assert steps.index(("ship", name)) < feedback
    assert ("ship", "pick") not in make.order(["lcm_feedback"])  # nor is anything else made


def test_it_trains_and_ships_in_that_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    did: list[str] = []

    def train(words: list[str]) -> int:
        did.extend(words)
        return 0

    def ship(name: str) -> Path:
        did.append(name)
        return tmp_path

    assert make.follow(make.order(["clip"]), train, ship) == 0
    trained = ["shapes_clip", "shapes_clip_longer", "shapes_clip_reading"]
    assert did == [*(f"recipe={name}" for name in trained), "clip"]
    assert capsys.readouterr().out.startswith("train shapes_clip\ntrain shapes_clip_longer\n")


def test_a_training_that_fails_ends_it() -> None:
    done: list[str] = []

    def train(words: list[str]) -> int:
        done.extend(words)
        return 2

    def ship(name: str) -> Path:
        raise AssertionError(f"{name} is shipped without its training")

    assert make.follow(make.order(["clip"]), train, ship) == 2
    assert done == ["recipe=shapes_clip"]


def test_unknown_weights_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="did you mean 'clip'"):
        make.order(["clop"])
    assert make.main(["clop"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
