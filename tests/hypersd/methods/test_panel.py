"""Rewards in other methods, the watch over them, and what is merged of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from hypersd import loop, merge
from hypersd.errors import UsageError
from hypersd.lora.reader import WEIGHT_NAME
from hypersd.methods import rewarded
from hypersd.methods.dmd import DmdTask
from hypersd.methods.feedback import FeedbackTask
from hypersd.recipe import Recipe
from hypersd.rewards import panel
from hypersd.rewards.options import ObjectiveOptions, RewardOptions, ValidationOptions
from hypersd.schedule import Schedule
from hypersd.student import Student, add_adapter_to
from hypersd.validation import read
from tests.hypersd.gaussians import SCALED_LINEAR
from tests.hypersd.trainings import assert_resumes_exactly, rng

REWARD = {"kind": "aesthetic", "folder": "unused", "target": 5.0, "weight": 0.5}
JUDGE = {"kind": "faithful", "folder": "unused", "drop": 0.02}
RECIPE = Recipe(
    name="trial", method="feedback", steps=30, batch=2, lr=1e-2, checkpoint_every=2, trackers=[],
    validate_every=1, data={"set": "shapes/train", "n": 4},
    options={"rank": 4, "moves": 2, "rewards": [REWARD], "validation": [JUDGE]},
)  # fmt: skip
DMD = replace(
    RECIPE, method="dmd", batch=3, validate_every=None,
    options={"guidance": 2.0, "rank": 4, "pairs": 0, "mse": 0.0, "start": 800},
)  # fmt: skip


def bright(images: torch.Tensor, prompts: Any) -> torch.Tensor:
    return images.mean((1, 2, 3))


def dark(images: torch.Tensor, prompts: Any) -> torch.Tensor:
    return -images.mean((1, 2, 3))


@pytest.fixture
def small(
    on_tiny_base: Callable[..., Recipe], no_previews: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Recipe]:
    """The reward likes bright pictures, the judge dark ones."""

    def load(entry: RewardOptions, device: torch.device) -> Any:
        return dark if isinstance(entry, ValidationOptions) else bright

    monkeypatch.setattr(panel, "load_reward", load)
    monkeypatch.setattr(rewarded, "JUDGED", 2)
    return lambda of, **options: on_tiny_base(of, options={**of.options, **options})


def test_a_reward_that_is_hacked_ends_the_training_with_the_last_good_weights(
    small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    final = loop.train(small(RECIPE), tmp_path / "rewarded")
    facts = json.loads((final / "training.json").read_text())
    good = facts["weights_of_step"]
    assert 0 < good < facts["steps"] == good + 1 < RECIPE.steps
    assert "faithful fell by" in facts["ended"] and facts["ended"] in capsys.readouterr().out
    alone = replace(small(RECIPE, validation=[]), steps=good)
    expected = load_file(loop.train(alone, tmp_path / "alone") / WEIGHT_NAME)
    found = load_file(final / WEIGHT_NAME)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_rewarded_training_goes_on_with_what_it_kept(small: Any, tmp_path: Path) -> None:
    """Stopped before the judge falls, whose verdict then is the same."""
    recipe = replace(small(RECIPE), lr=3e-3)
    assert_resumes_exactly(recipe, FeedbackTask, 3, WEIGHT_NAME, tmp_path)
    facts = [json.loads((tmp_path / run / "final" / "training.json").read_text())
             for run in ("whole", "stopped")]  # fmt: skip
    assert facts[0]["ended"] == facts[1]["ended"]
    assert facts[0]["weights_of_step"] == facts[1]["weights_of_step"] > 2


def test_a_judge_without_a_number_ends_it_too(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small(RECIPE)
    task = loop.build(recipe, torch.device("cpu"))
    task.guard.panel.judges["faithful"] = (lambda images, prompts: images.new_tensor([torch.nan]),
                                           0.1)  # fmt: skip
    task.after_step(0)
    task.preview(tmp_path / "x.png")
    assert "faithful fell by nan" in str(task.halted())


def test_an_entry_says_what_it_is_for() -> None:
    with pytest.raises(UsageError, match="'drop' is missing"):
        read(ValidationOptions, {"kind": "clip", "folder": "x"}, "validation[0]")
    with pytest.raises(UsageError, match="unknown key 'drop'"):
        read(ObjectiveOptions, JUDGE | {"target": 1.0}, "rewards[0]")
    with pytest.raises(UsageError, match=r"rewards\[0\]\.kind=faithful: valid: aesthetic"):
        read(ObjectiveOptions, REWARD | {"kind": "faithful"}, "rewards[0]")


def test_two_of_a_kind_have_names_of_their_own(small: Any) -> None:
    rewards = [ObjectiveOptions(**REWARD), ObjectiveOptions(**REWARD | {"target": 1.0})]
    both = panel.Panel("trial", rewards, [], torch.device("cpu"))
    images = torch.full((2, 3, 4, 4), 0.25)
    total, scalars = both.rated(images, ["a", "b"])
    assert scalars == {"reward_aesthetic": 0.25, "reward_aesthetic_2": 0.25}
    assert float(total) == pytest.approx(0.5 * (5.0 - 0.25) + 0.5 * (1.0 - 0.25))


def test_dmd_adds_what_the_rewards_miss(small: Any) -> None:
    """Of the very pictures that distribution matching is about."""
    cpu = torch.device("cpu")
    plain = loop.build(small(DMD), cpu)
    task = loop.build(small(DMD, rewards=[REWARD], feedback=0.3), cpu)
    assert isinstance(task, DmdTask)
    without, _ = plain.loss(0, rng())
    total, scalars = task.loss(0, rng())
    batch, z, _ = task._draw(0, rng())
    with torch.no_grad():
        x = task.one_step(z, batch.text)
        shown = task.base.vae.decode(x / task.base.vae.config.scaling_factor).sample.clamp(-1, 1)
    missed = 0.5 * (5.0 - shown.mean((1, 2, 3))).mean()
    torch.testing.assert_close(total - without, 0.3 * missed, rtol=1e-4, atol=1e-5)
    assert scalars["reward_aesthetic"] == pytest.approx(float(shown.mean()), abs=1e-5)


def test_a_one_step_students_preview_starts_where_it_was_trained(small: Any) -> None:
    task = loop.build(small(DMD), torch.device("cpu"))
    with torch.no_grad():
        noise = task.previews._noise()
        found = task.previews._draw(1, noise)
        text = task.base.encode_prompts(task.previews.prompts)
        x0 = task.one_step(noise[0], text)
        t = torch.full((len(x0),), 800)
        eps = task.student.predict("student", noise[0], t, text)
    a, s = (float(table[0]) for table in (task.schedule.alpha, task.schedule.sigma))
    torch.testing.assert_close(found, a * x0 + s * eps, rtol=1e-4, atol=1e-4)


@pytest.fixture
def two(tiny_base: Path, tmp_path: Path) -> list[Path]:
    """Two random adapters of ranks 2 and 4."""
    made = []
    for rank in (2, 4):
        unet = UNet2DConditionModel.from_pretrained(tiny_base, subfolder="unet")
        student = Student(unet, Schedule.from_config(SCALED_LINEAR), rank=rank)
        with torch.no_grad():
            for parameter in student.parameters("student"):
                parameter.normal_(0, 0.1, generator=rng(rank))
        made.append(tmp_path / f"rank{rank}")
        student.export(made[-1], dtype=torch.float32)
    return made


def test_a_merged_adapter_is_the_weighted_sum(
    tiny_base: Path, two: list[Path], tmp_path: Path
) -> None:
    """diffusers' pipeline with the merged file, against both added to the weights in turn."""
    assert merge.main([str(two[0]), f"{two[1]}:0.5", f"out={tmp_path / 'both'}"]) == 0
    unet = UNet2DConditionModel.from_pretrained(tiny_base, subfolder="unet").eval()
    for folder, weight in zip(two, (1.0, 0.5), strict=True):
        add_adapter_to(unet, folder, weight)
    pipe = StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    pipe.load_lora_weights(tmp_path / "both")
    x, t = torch.randn(2, 4, 16, 16, generator=rng()), torch.tensor([999, 300])
    text = torch.randn(2, 24, 32, generator=rng())
    with torch.no_grad():
        expected, found = (u(x, t, encoder_hidden_states=text).sample for u in (unet, pipe.unet))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_feedback_exports_itself_or_both_as_one(
    small: Any, two: list[Path], tmp_path: Path
) -> None:
    for merged, rank in ((False, 4), (True, 6)):
        recipe = small(RECIPE, onto=str(two[0]), merged=merged, validation=[])
        task = loop.build(recipe, torch.device("cpu"))
        task.export(tmp_path / str(merged))
        state = load_file(tmp_path / str(merged) / WEIGHT_NAME)
        assert {len(v) for k, v in state.items() if "lora_A" in k} == {rank}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["{a}"], "usage"), (["{a}", "{b}"], "usage"), (["{a}", "no", "out=x"], "LoRA no"),
     (["{a}", "{b}:much", "out=x"], "weight 'much'")],
)  # fmt: skip
def test_bad_merges_are_one_line(
    two: list[Path], arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merge.main([a.format(a=two[0], b=two[1]) for a in arguments]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
