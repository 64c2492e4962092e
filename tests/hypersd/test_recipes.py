"""Recipes: every one of SDXL, SD1.5 and SD3 starts and steps on small models of their classes, with
small rewards of the published classes; `extends`; what one begins with is what another leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from hypersd import loop
from hypersd import recipe as recipes
from hypersd.base import load_base
from hypersd.bases.sd3 import Sd3
from hypersd.errors import UsageError
from hypersd.lora.reader import WEIGHT_NAME
from hypersd.recipe import Recipe
from hypersd.schedule import Schedule
from hypersd.student import UNET_NAME, Student
from tests.hypersd.gaussians import SCALED_LINEAR
from tests.hypersd.real_models import make_pictures, make_sd3, make_sd15, make_sdxl
from tests.hypersd.real_rewards import make_clip, make_image_reward, make_laion, make_segmenter
from tests.hypersd.trainings import differ, rng, values

PUBLISHED = "_as_published"  # with the paper's own settings
REAL = [name for name in recipes.names() if name.startswith(("sdxl_", "sd15_", "sd3_"))]
METHODS = ("lcm_lora", "tcd_lora", "tscd_lora", "lightning_lora", "lightning_unet", "dmd_lora",
           "feedback_lora", "pcm_lora", "dmd2_lora", "hyper_sd_8step_lora", "hyper_sd_4step_lora",
           "hyper_sd_2step_lora", "hyper_sd_1step_unet", "hyper_sd_unified_lora",
           "one_adapter_lora")  # fmt: skip
ON_SD3 = ("lcm_lora", "tcd_lora", "tscd_lora", "dmd2_lora", "feedback_lora",
          "hyper_sd_unified_lora", "one_adapter_lora")  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models, pictures and rewards, and TCD's and the TSCD chain's adapters in runs/train."""
    folder = tmp_path_factory.mktemp("node")
    make_pictures(folder / "set")
    for kind, make in (("sd15", make_sd15), ("sdxl", make_sdxl)):
        base = make(folder / kind)
        unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
        student = Student(unet, Schedule.from_config(SCALED_LINEAR), rank=4)
        for left in ("8segments", "4segments", "2segments", "final"):
            student.export(folder / "runs" / "train" / f"{kind}_tscd_lora" / left)
        student.export(folder / "runs" / "train" / f"{kind}_tcd_lora" / "final")
    base = load_base(str(make_sd3(folder / "sd3")), torch.device("cpu"))
    student = Student(base.network, base.schedule, Sd3, rank=4)
    for method in ("tscd", "tcd"):
        student.export(folder / "runs" / "train" / f"sd3_{method}_lora" / "final")
    make_clip(folder / "clip")
    make_laion(folder / "head.pth")
    make_image_reward(folder / "image_reward")
    make_segmenter(folder / "mask2former")
    return folder


REWARDS = {
    "laion": {"folder": "head.pth", "clip": "clip"},
    "image_reward": {"folder": "image_reward/ImageReward.pt",
                     "vocabulary": "image_reward/vocab.txt"},
    "clip": {"folder": "clip"},
}  # fmt: skip


def small(name: str) -> Recipe:
    """The recipe with small models, and one step for each of its stages."""
    found = recipes.load(name)
    stages = [{**stage, "steps": 1} for stage in found.stages]
    changes: dict[str, Any] = {
        "base": f"./{name.split('_')[0]}", "data": {"folder": "set"}, "batch": 2, "stages": stages,
        "steps": len(stages) or 1, "warmup": 0, "options.rank": 4, "prompts": ["a red bird"],
    }  # fmt: skip
    less = {"pairs": 2, "pair_steps": 2, "fake_updates": 1, "segmenter": "mask2former"}
    changes |= {f"options.{key}": value for key, value in less.items() if key in found.options}
    for role in ("rewards", "validation"):
        if role in found.options:
            entries = [entry | REWARDS[entry["kind"]] for entry in found.options[role]]
            changes[f"options.{role}"] = entries
    return recipes.load(name, changes)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n.startswith("sd15_") else []) for n in REAL],
)
def test_it_starts_and_steps_and_leaves_the_base(
    place: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(place)
    recipe = small(name)
    made = loop._Run(recipe, loop.build(recipe, torch.device("cpu")), tmp_path)
    before = {role: values(made.of(role)) for role in made.optimizers}
    unet = made.task.modules["unet"]
    base = {k: v.clone() for k, v in unet.state_dict().items() if ".lora_" not in k}
    for made.step in range(recipe.steps):
        made.update(rng(made.step))
    for role, was in before.items():
        assert differ(made.of(role), was), role
        assert {p.dtype for p in made.of(role)} == {torch.float32}
    now = unet.state_dict()
    assert all(torch.equal(now[key], value) for key, value in base.items())
    assert {v.dtype for v in base.values()} == {torch.bfloat16}
    made.task.export(tmp_path)
    assert (tmp_path / (UNET_NAME if recipe.options.get("full") else WEIGHT_NAME)).is_file()


def test_every_base_has_a_recipe_of_every_method() -> None:
    found = [name for name in REAL if not name.endswith(PUBLISHED)]
    wanted = {"sd15": METHODS, "sdxl": METHODS, "sd3": ON_SD3}
    assert sorted(f"{kind}_{name}" for kind, names in wanted.items() for name in names) == found


@pytest.mark.parametrize("name", [name for name in REAL if name.endswith(PUBLISHED)])
def test_a_recipe_as_published_has_the_papers_batch_and_the_other_its_method(name: str) -> None:
    recipe, ours = recipes.load(name), recipes.load(name.removesuffix(PUBLISHED))
    assert (recipe.method, recipe.batch, recipe.average) == (ours.method, 512, None)
    assert recipe.base == ours.base and recipe.steps == ours.steps


@pytest.mark.parametrize("name", [name for name in REAL if not name.endswith(PUBLISHED)])
def test_it_asks_of_a_node_what_it_has(name: str) -> None:
    """Rank, precision and memory as promised; one guidance and budget for all rivals."""
    recipe = recipes.load(name)
    assert (recipe.base_precision, recipe.gradient_checkpointing) == ("bf16", True)
    assert recipe.options["rank"] == 64
    assert recipe.batch % 8 == 0
    feedback = recipe.method == "feedback"
    usual = 7.0 if name.startswith("sd3_") else 7.5
    assert recipe.options["guidance"] == (1.0 if feedback else usual)
    if not feedback and "hyper_sd" not in name:
        assert recipe.images_seen == 8000 * 64


def test_what_a_recipe_begins_with_is_what_another_leaves() -> None:
    """`runs/train/RECIPE/final`, or a snapshot: a TSCD stage's or that of Lightning's steps."""
    begun = []
    for name in recipes.names():
        options = recipes.load(name).options
        for key in ("init", "onto", "segmenter"):
            begun += [(name, options[key])] if options.get(key) else []
        for entry in [*options.get("rewards", []), *options.get("validation", [])]:
            begun += [(name, v) for k, v in entry.items() if k in ("folder", "clip")]
    here = [(name, Path(path)) for name, path in begun if path.startswith("runs/")]
    assert len(here) > 20
    for name, path in here:
        source = recipes.load(path.parent.name)
        kept = {f"{stage.get('segments')}segments" for stage in source.stages[:-1]} | {"final"}
        kept |= {f"{stage['to']}step" for stage in source.stages if "to" in stage}
        assert path.parts[:2] == ("runs", "train") and path.name in kept, name


def test_the_worlds_chains_see_as_many_pictures_as_their_rivals() -> None:
    for name in ("lcm", "tcd", "tscd", "pcm", "lightning", "lightning_unet", "dmd", "dmd2", "tdm"):
        assert recipes.load(f"shapes_{name}").images_seen == 24_000, name
    first = recipes.load("shapes_hyper_sd_tscd").images_seen
    for name in ("unified", "1step_unet"):
        assert first + recipes.load(f"shapes_hyper_sd_{name}").images_seen == 24_000
    for name in ("tscd_dmd", "tcd_dmd", "one_adapter"):
        recipe = recipes.load(f"shapes_{name}")
        begun = recipes.load(Path(recipe.options["init"]).parent.name)
        assert begun.images_seen + recipe.images_seen == 24_000


def test_the_worlds_rivals_have_one_data_set_one_guidance_and_one_grid() -> None:
    found = map(recipes.load, recipes.names())
    rivals = [r for r in found if r.data.get("set") == "shapes/train" and r.data["n"] > 12_000]
    assert len(rivals) > 12
    for recipe in rivals:
        assert recipe.data == {"set": "shapes/train", "n": 24_000}, recipe.name
        assert (recipe.seed, recipe.precision) == (0, "auto"), recipe.name
        options = {"points": 40, **recipe.options}
        assert (options["guidance"], options["points"], options["rank"]) == (3.0, 40, 8)


def write(folder: Path, name: str, text: str) -> Path:
    (folder / f"{name}.yaml").write_text(text)
    return folder / f"{name}.yaml"


def test_extends_merges_options_and_replaces_data_and_stages(tmp_path: Path) -> None:
    write(tmp_path, "below", "method: lcm\nsteps: 4\nbatch: 2\nlr: 1.0\ndata: {folder: x, n: 3}\n"
          "options: {guidance: 3.0, rank: 4}\nstages: [{steps: 4}]\n")  # fmt: skip
    path = write(tmp_path, "mine", "extends: below\nlr: 2.0\ndata: {webdataset: y}\n"
                 "options: {rank: 8}\nstages: [{steps: 1}]\n")  # fmt: skip
    found = recipes.load(path, {"options.points": 10})
    assert (found.name, found.lr, found.steps) == ("mine", 2.0, 4)
    assert found.data == {"webdataset": "y"} and found.stages == [{"steps": 1}]
    assert found.options == {"guidance": 3.0, "rank": 8, "points": 10}
    assert recipes.load(path, {"data": {"folder": "z"}}).data == {"folder": "z"}
    same = write(tmp_path, "same", "extends: mine\n")
    assert recipes.load(same).identity == recipes.load(path).identity


@pytest.mark.parametrize(
    ("text", "says"),
    [("extends: mine\n", "extends itself"), ("extends: shapes_lmc\n", "did you mean 'shapes_lcm'"),
     ("extends: shapes_lcm\nlrr: 1\n", "did you mean 'lr'")],
)  # fmt: skip
def test_what_cannot_be_extended_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        recipes.load(write(tmp_path, "mine", text))
    assert "\n" not in str(caught.value)


def test_defaults_are_no_recipes() -> None:
    assert not [name for name in recipes.names() if name.startswith("_")]
    with pytest.raises(UsageError, match=r"x.y'? is no mapping|'lr' is no mapping"):
        recipes.load("shapes_lcm", {"lr.x": 1})
