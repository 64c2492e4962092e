"""Further trainings of shipped students: a whole chain from another seed, kept by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hypersd import recipe as recipes
from hypersd.shapes import seeds
from hypersd.shapes.weights import STUDENTS, training


@pytest.mark.parametrize("name", STUDENTS)
def test_no_recipe_of_a_seed_stands_on_another_seeds_training(name: str) -> None:
    for recipe in seeds.chain(name):
        given = dict(word.split("=", 1) for word in seeds.words(recipe, 3))
        assert given["recipe"] == recipe and given["seed"] == "3"
        assert given["out"] == f"runs/seed3/{recipe}"
        changed = {key: json.loads(v) for key, v in given.items() if key not in ("recipe", "out")}
        assert "runs/train" not in json.dumps(recipes.load(recipe, changed).options)


def test_weights_are_kept_by_name_and_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe, part = training("lightning_4step")
    for folder in (part, "final"):
        made = Path(f"runs/seed1/{recipe}/{folder}")
        made.mkdir(parents=True)
        (made / "README.md").write_text(folder, encoding="utf-8")
    seeds.keep("lightning_4step", 1, Path("kept"))
    assert Path("kept/lightning_4step.seed1/README.md").read_text(encoding="utf-8") == part
    assert seeds.main(["2", "kept", "lightning_3step"]) == 2
    assert "no shipped student 'lightning_3step'" in capsys.readouterr().err
    assert seeds.main(["two", "kept", "tcd"]) == 2
    assert capsys.readouterr().err.startswith("usage: ")
