"""How a contestant that names a recipe is drawn, and what its card says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch

from bench.contestants.card import Card
from bench.errors import UsageError
from bench.suite import contestant, sampling
from bench.suite.contestant import ContestantSettings
from bench.suite.sampling import Sampling
from hypersd import recipe
from hypersd.methods import METHODS, MethodRow, drawn_with
from hypersd.shapes.weights import FOLDER

SUITE = """
title: Drawn
version: 1
steps: [1]
prompts: {set: shapes/test, n: 2}
metrics: [clip]
contestants:
  mine: {lora: uncarded}
  asked: {lora: uncarded, scheduler: ddim}
  likened: {lora: uncarded, like: tcd}
  teacher: {}
"""
TCD = Sampling("tcd", eta=0.3, original_steps=40)
JUMPS = Sampling("ddim", spacing="trailing")
ONE_STEP = Sampling("lcm", original_steps=40)


def read(recipe: str | Path, **values: Any) -> ContestantSettings:
    return contestant.read("mine", {"recipe": str(recipe), "steps": [1], **values}, (1,))


@pytest.mark.parametrize(
    ("recipe", "sampling"),
    [
        ("shapes_tcd", TCD),
        ("shapes_lightning", JUMPS),
        ("shapes_lightning_unet", JUMPS),
        ("sdxl_lightning_unet", replace(JUMPS, prediction_type="sample")),
        ("shapes_pcm", JUMPS),
        ("shapes_tdm", JUMPS),
        ("shapes_one_adapter", TCD),
        ("shapes_dmd", ONE_STEP),
        ("shapes_dmd2", ONE_STEP),
        ("shapes_tscd_dmd", ONE_STEP),
        ("shapes_hyper_sd_1step_unet", replace(ONE_STEP, timesteps=(800,))),
        ("shapes_tcd_feedback", TCD),
        ("shapes_lcm_feedback", ONE_STEP),
        ("shapes_lightning_feedback", JUMPS),
        ("shapes_feedback", JUMPS),
    ],
)
def test_a_recipe_is_drawn_as_it_was_trained(recipe: str, sampling: Sampling) -> None:
    assert read(recipe).sampling == sampling


def test_what_the_suite_says_comes_first() -> None:
    found = read("shapes_hyper_sd_unified", scheduler="tcd", eta=0.5)
    assert found.sampling == Sampling("tcd", eta=0.5, original_steps=40)
    assert read("shapes_dmd", like="tcd").sampling == TCD


def test_a_one_step_model_of_its_own_timestep_is_drawn_in_one_step() -> None:
    with pytest.raises(
        UsageError,
        match=r"\[800\]: are 1, but .* in 1 and 2 steps; valid: contestants\.mine\.steps=1",
    ):
        read("shapes_hyper_sd_1step_unet", steps=[1, 2])


def feedback(folder: Path, onto: Path) -> Path:
    path = folder / "mine.yaml"
    path.write_text(f"extends: shapes_feedback\noptions: {{onto: {onto}}}\n")
    return path


def test_feedback_on_a_folder_of_another_name_goes_by_its_card(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(json.dumps({"method": "lcm"}))
    assert read(feedback(tmp_path, tmp_path)).sampling == ONE_STEP
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(UsageError, match=r"options\.onto=.*: how to draw it is not known"):
        read(feedback(tmp_path, tmp_path))


def test_weights_are_drawn_as_their_card_says(tmp_path: Path) -> None:
    """Whatever the contestant is called; a suite's own words come first."""
    how = {"scheduler": "tcd", "eta": 0.3, "original_steps": 50}
    card = tmp_path / "training.json"
    card.write_text(json.dumps({"method": "tcd", "drawn_with": how}))
    tcd = replace(TCD, original_steps=50)
    mine = {"lora": str(tmp_path)}
    assert contestant.read("lcm", mine, (1,)).sampling == tcd
    file = {"lora": str(tmp_path / "pytorch_lora_weights.safetensors")}
    assert contestant.read("mine", file, (1,)).sampling == tcd
    assert contestant.read("mine", mine | {"eta": 0.5}, (1,)).sampling == replace(tcd, eta=0.5)
    assert contestant.read("mine", mine | {"like": "lcm"}, (1,)).sampling == ONE_STEP
    assert read(feedback(tmp_path, tmp_path)).sampling == tcd
    card.write_text(json.dumps({"drawn_with": how | {"eta": "much"}}))
    with pytest.raises(UsageError, match=r"training\.json: drawn_with\.eta=much: must be a number"):
        contestant.read("mine", mine, (1,))


def test_a_card_says_what_a_suite_would(tmp_path: Path) -> None:
    """A trained student is drawn by its card as the recipe alone says."""
    for name in recipe.names():
        if METHODS[recipe.load(name).method].drawn is None:
            continue
        found = drawn_with.drawn_with(recipe.load(name))
        card = {"drawn_with": found.facts()}
        (tmp_path / "training.json").write_text(json.dumps(card))
        assert sampling.of_weights(str(tmp_path)) == sampling.of_recipe(recipe.load(name))


def carded(folder: Path, **facts: Any) -> ContestantSettings:
    (folder / "training.json").write_text(json.dumps({"images_seen": 10, "seconds": 2.0, **facts}))
    return contestant.read("mine", {"lora": str(folder)}, (1,))


def test_a_row_counts_the_whole_chain(tmp_path: Path) -> None:
    before = {"images_seen_before": 90, "unet_forwards_before": 7, "seconds_before": 5.5}
    found = Card(carded(tmp_path, unet_forwards=3, **before)).training
    assert found is not None
    assert (found.images_seen, found.unet_forwards, found.seconds) == (100, 10, 7.5)


def test_a_card_that_names_rewards_is_of_a_rewarded_model(tmp_path: Path) -> None:
    assert not Card(carded(tmp_path)).is_rewarded
    assert Card(carded(tmp_path, rewards="aesthetic to 8")).is_rewarded


def test_no_shipped_student_is_drawn_by_guess() -> None:
    """Each says how, in both of its cards; the shipped suites draw it so."""
    for card in sorted(FOLDER.glob("*/training.json")):
        if "method" in json.loads(card.read_text()):
            assert drawn_with.of_card(card.parent) is not None, card
            assert "drawn with |" in (card.parent / "README.md").read_text(), card
            mine = {"lora": f"shapes/{card.parent.name}", "steps": [1]}
            found = contestant.read("mine", mine, (1,))
            assert found.sampling.scheduler is not None and not found.assumed, card
    assert contestant.read("mine", {"lora": "shapes/hyper_sd_4step"}, (4,)).sampling == JUMPS
    assert contestant.read("mine", {"lora": "shapes/hyper_sd_unified"}, (4,)).sampling == TCD
    assert contestant.read("mine", {"lora": "shapes/lcm_feedback"}, (4,)).sampling == ONE_STEP


def test_feedback_goes_by_the_card_before_the_name_of_its_folder(tmp_path: Path) -> None:
    named = tmp_path / "shapes_tcd" / "final"
    named.mkdir(parents=True)
    assert read(feedback(tmp_path, named)).sampling == TCD  # of a training that is still to come
    (named / "training.json").write_text(json.dumps({"recipe": "shapes_lcm", "method": "lcm"}))
    assert read(feedback(tmp_path, named)).sampling == ONE_STEP
    (named / "training.json").write_text(json.dumps({"method": "unheard of"}))
    with pytest.raises(UsageError, match=r"options\.onto=.*: how to draw it is not known"):
        read(feedback(tmp_path, named))


def test_a_method_that_does_not_say_how_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a suite names its recipe, and before it is trained."""
    row = MethodRow("hypersd.methods.lcm:build", None)
    monkeypatch.setitem(METHODS, "mute", row)
    (tmp_path / "mute.yaml").write_text("extends: shapes_lcm_quick\nmethod: mute\n")
    said = r"method 'mute' does not say how its students are drawn; valid: a Drawing in its row"
    with pytest.raises(UsageError, match=said):
        read(tmp_path / "mute.yaml")
    with pytest.raises(UsageError, match=said):
        resolve_name(row.build)(recipe.load(tmp_path / "mute.yaml"), torch.device("cpu"))
    with pytest.raises(TypeError, match="drawn"):
        MethodRow("hypersd.methods.lcm:build")  # type: ignore[call-arg]


def test_weights_of_which_nothing_says_how_are_not_drawn(
    bench: Callable[..., int], world: Path, tiny_lora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run ends in a line that names what would say it; a plan says it, too."""
    (world / "uncarded").symlink_to(tiny_lora)
    (world / "suite.yaml").write_text(SUITE)
    assert bench("suite=suite.yaml", "out=run") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: contestants.mine.lora=uncarded: nothing says how it is drawn")
    assert "contestants.mine.like=teacher, " in said and "contestants.mine.scheduler=base" in said
    assert not (world / "run").exists()
    assert bench("suite=suite.yaml", "task=plan") == 0
    assert "missing: contestants.mine.lora=uncarded: " in capsys.readouterr().out
    assert bench("suite=suite.yaml", "task=plan", "contestants.mine.scheduler=base") == 0
    said = capsys.readouterr().out
    assert "missing" not in said
    assert "base's DDIM" in said and "tcd eta 0.3" in said and "guidance 3" in said


def test_the_bases_own_scheduler_is_one_to_choose() -> None:
    """Over a method's own, too, whose further settings stay."""
    found = contestant.read("mine", {"lora": "x", "like": "tcd", "scheduler": "base"}, (1,))
    assert found.sampling == replace(TCD, scheduler=None) and not found.assumed
    with pytest.raises(UsageError, match=r"timesteps: needs a scheduler that takes them; valid: d"):
        contestant.read("mine", {"lora": "x", "scheduler": "base", "timesteps": [9]}, (1,))


def test_the_folder_of_a_training_is_not_its_weights(
    bench: Callable[..., int], world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever names it is told which folder was meant, by a run, a check and a report."""
    (world / "mine").mkdir()
    (world / "mine/train.jsonl").write_text("{}\n")
    mine = "+contestants.mine={lora: mine, like: tcd}"
    refused = {
        (mine,): "lora=mine: is the folder of a training without weights yet; they will be in",
        ("out=mine",): "out=mine: holds a training; choose another folder",
    }
    for words, why in refused.items():
        assert bench(*words) == 2
        assert why in capsys.readouterr().err
    for part in ("4step", "final"):
        (world / "mine" / part).mkdir()
        (world / "mine" / part / "README.md").write_text("a card\n")
        (world / "mine" / part / "training.json").write_text("{}\n")
    assert bench(mine) == 2
    assert "did you mean mine/final? There are also mine/4step" in capsys.readouterr().err
    advice = "holds a training, which is no {}; a run of what it made: python bench.py suite=NAME "
    advice += "+contestants.mine.lora=mine/final\n"
    for folder in ("mine", "mine/final"):
        assert bench("task=report", f"run={folder}") == 2
        assert advice.format("run") in capsys.readouterr().err
        assert bench("task=check", f"run={folder}", "baseline=./any") == 2
        assert advice.format("run") in capsys.readouterr().err
