"""How a contestant that names a recipe is drawn, and what its card says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.contestants.card import Card
from bench.errors import UsageError
from bench.suite import contestant, sampling
from bench.suite.contestant import ContestantSettings
from bench.suite.sampling import Sampling
from hypersd import recipe
from hypersd.methods import drawn_with

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
    with pytest.raises(UsageError, match=r"so set contestants\.mine\.steps=1"):
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
        found = drawn_with.drawn_with(recipe.load(name))
        if found is None:
            continue
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
