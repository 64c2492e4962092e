"""Stable Diffusion 3: what the trainers do against diffusers' own pipeline, on a small model of its
classes; that every method steps there: test_recipes.py and test_real_bases.py."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from hypersd import bases, loop
from hypersd.base import Base, load_base
from hypersd.bases.sd3 import Sd3
from hypersd.critic import Critic
from hypersd.errors import UsageError
from hypersd.kohya import main as to_kohya
from hypersd.merge import merge
from hypersd.recipe import Recipe
from hypersd.sampler import sample_consistency, sample_jumps
from hypersd.schedule import RectifiedFlow
from hypersd.solver import SolverGrid, guided
from hypersd.student import STUDENT, TEACHER, Student, add_adapter_to
from tests.hypersd.real_models import make_pictures, make_sd3
from tests.hypersd.trainings import assert_resumes_exactly, rng

PROMPTS = ["a red bird", "two small boats on the water"]
SIGMAS = [1.0, 0.75, 0.5, 0.25]  # of four steps with trailing spacing, before the shift
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    make_pictures(place / "set")
    return make_sd3(place / "sd3")


@pytest.fixture
def base(folder: Path) -> Base:
    return load_base(str(folder), CPU)


def pipeline(folder: Path) -> Any:
    pipe = StableDiffusion3Pipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def noise(base: Base, seed: int = 0) -> torch.Tensor:
    return torch.randn(len(PROMPTS), *base.family.latent_shape(), generator=rng(seed))


def randomised(student: Student) -> Student:
    """An adapter that changes what the network says."""
    with torch.no_grad():
        for parameter in student.parameters(STUDENT):
            parameter.normal_(0, 0.2, generator=rng(5))
    return student


@torch.no_grad()
def test_the_guided_teacher_draws_what_the_pipeline_does(folder: Path, base: Base) -> None:
    """Conditions, timesteps, guidance, grid and the VAE's shift at once."""
    assert base.schedule == RectifiedFlow(shift=3.0)
    student, empty = Student(base.network, base.schedule, Sd3, rank=4), base.encode_empty()
    text, z = base.encode_prompts(PROMPTS), noise(base)
    timesteps = SolverGrid(40, base.schedule.clock).inference(4)
    latents = sample_jumps(
        lambda x, t: guided(student.network(TEACHER), x, t, text, empty, 7.0),
        z, timesteps, base.schedule,
    )  # fmt: skip
    given = {"prompt": PROMPTS, "guidance_scale": 7.0, "sigmas": SIGMAS, "latents": z,
             "num_inference_steps": 4}  # fmt: skip
    pipe = pipeline(folder)
    torch.testing.assert_close(
        latents, pipe(**given, output_type="latent").images, rtol=1e-4, atol=1e-4
    )
    theirs = pipe(**given, output_type="pt").images
    torch.testing.assert_close(base.pictures(latents) / 2 + 0.5, theirs, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_an_exported_lora_draws_the_same_in_diffusers_pipeline(
    folder: Path, base: Base, tmp_path: Path
) -> None:
    student = randomised(Student(base.network, base.schedule, Sd3, rank=4))
    student.export(tmp_path, dtype=torch.float32)
    text, z = base.encode_prompts(PROMPTS), noise(base)
    timesteps = SolverGrid(40, base.schedule.clock).inference(4)
    network = student.network(STUDENT)
    latents = sample_jumps(lambda x, t: network(x, t, text), z, timesteps, base.schedule)
    pipe = pipeline(folder)
    given = {"prompt": PROMPTS, "guidance_scale": 1.0, "sigmas": SIGMAS, "latents": z,
             "num_inference_steps": 4, "output_type": "latent"}  # fmt: skip
    plain = pipe(**given).images
    pipe.load_lora_weights(tmp_path)
    theirs = pipe(**given).images
    torch.testing.assert_close(latents, theirs, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(plain, theirs, atol=0.05)


@torch.no_grad()
def test_an_exported_lora_is_read_again_and_merged(base: Base, tmp_path: Path) -> None:
    """As another training's beginning, into the base's weights, and with a second one."""
    student = randomised(Student(base.network, base.schedule, Sd3, rank=4))
    student.export(tmp_path, dtype=torch.float32)
    text, x, t = base.encode_prompts(PROMPTS), noise(base), torch.tensor([1.0, 0.4])
    expected = student.predict(STUDENT, x, t, text)
    again = Student(load_base(str(base.folder), CPU).network, base.schedule, Sd3, rank=6)
    again.load(STUDENT, tmp_path)
    torch.testing.assert_close(again.predict(STUDENT, x, t, text), expected, rtol=1e-4, atol=1e-4)
    bare = load_base(str(base.folder), CPU).network
    add_adapter_to(bare, tmp_path, part=Sd3.part)
    torch.testing.assert_close(Sd3.call(bare, x, t, text), expected, rtol=1e-4, atol=1e-4)
    twice = load_base(str(base.folder), CPU).network
    add_adapter_to(twice, merge([(tmp_path, 0.5), (tmp_path, 0.5)], tmp_path / "two").parent,
                   part=Sd3.part)  # fmt: skip
    torch.testing.assert_close(Sd3.call(twice, x, t, text), expected, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_one_line(
    base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Student(copy.deepcopy(base.network), base.schedule, Sd3, rank=4).export(tmp_path)
    assert to_kohya([str(tmp_path)]) == 2
    assert "is of a transformer; valid: a LoRA of a UNet" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"full=true: not on a base of kind sd3; valid: false"):
        Student(base.network, base.schedule, Sd3, full=(STUDENT,))
    with pytest.raises(UsageError, match=r"is a StableDiffusion3Pipeline; valid: StableDiff"):
        bases.load(base.folder, torch.float32, None, "unet")


@pytest.mark.parametrize("copied", [True, False])
@torch.no_grad()
def test_critics_see_the_blocks_outputs(base: Base, copied: bool) -> None:
    """Against hooks on diffusers' own forward pass; of the trunk as of the whole network."""
    seen, text = [], base.encode_prompts(PROMPTS)
    x, t = noise(base), torch.tensor([0.9, 0.2])
    hooks = [
        block.register_forward_hook(lambda module, given, output: seen.append(output[1]))
        for block in base.network.transformer_blocks
    ]
    Sd3.call(base.network, x, t, text)
    for hook in hooks:
        hook.remove()
    network = Sd3.trunk(base.network) if copied else base.network
    found, shapes = Sd3.features(network, x, t, text), Sd3.feature_shapes(network)
    assert len(base.network.transformer_blocks) == 4 and base.network.proj_out is not None
    assert [(f.shape[1], f.shape[2]) for f in found] == shapes == [(16, 4), (16, 4)]
    for mine, theirs in zip(found, seen[:2], strict=True):
        torch.testing.assert_close(mine.flatten(2).transpose(1, 2), theirs)


def test_a_critics_gradient_reaches_its_trunk(base: Base) -> None:
    critic = Critic(base.network, Sd3, recompute=True)
    text, x, t = base.encode_prompts(PROMPTS), noise(base), torch.tensor([0.9, 0.2])
    critic.train()
    critic(x, t, text, x, t).sum().backward()
    missing = {name for name, p in critic.named_parameters() if p.grad is None}
    assert len(critic.trunk.transformer_blocks) == 2 and critic.trunk.proj_out is None
    assert not {name for name in missing if "transformer_blocks" not in name}


FIELDS: dict[str, Any] = {
    "lcm": {}, "tcd": {},
    "tscd": {"stages": [{"segments": 2, "steps": 1}, {"segments": 1, "steps": 2,
                                                      "adversarial": 0.5}]},
    "dmd2": {},
}  # fmt: skip


def recipe(folder: Path, method: str) -> Recipe:
    options = {"fake_updates": 1, "gan": 0.1} if method == "dmd2" else {}
    return Recipe(
        name="trial", method=method, steps=3, batch=2, lr=1e-2, checkpoint_every=1, trackers=[],
        base=str(folder), data={"folder": str(folder.parent / "set")}, prompts=["a red bird"],
        options={"guidance": 2.0, "rank": 4, "points": 8, **options}, **FIELDS[method],
    )  # fmt: skip


@pytest.mark.parametrize("method", ["tscd", "dmd2"])
def test_it_resumes_exactly(
    folder: Path, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERSD_CACHE", str(tmp_path))
    made = recipe(folder, method)
    kind = type(loop.build(made, CPU))
    assert_resumes_exactly(made, kind, 2, "pytorch_lora_weights.safetensors", tmp_path)


@pytest.mark.parametrize(("method", "scheduler"), [("lcm", "flow_lcm"),
                                                   ("tcd", "flow_euler")])  # fmt: skip
def test_its_card_says_how_it_is_drawn(
    folder: Path, method: str, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the card names, of diffusers, draws what the preview's sampler does."""
    import diffusers

    monkeypatch.setenv("HYPERSD_CACHE", str(tmp_path))
    out = loop.train(recipe(folder, method), tmp_path / "out")
    assert json.loads((out / "training.json").read_text())["drawn_with"] == {
        "scheduler": scheduler, "spacing": "trailing",
    }  # fmt: skip
    base = load_base(str(folder), CPU)
    student = Student(base.network, base.schedule, Sd3, rank=4)
    student.load(STUDENT, out)
    pipe, z = pipeline(folder), noise(base)
    kinds = {"flow_lcm": diffusers.FlowMatchLCMScheduler,
             "flow_euler": diffusers.FlowMatchEulerDiscreteScheduler}  # fmt: skip
    pipe.scheduler = kinds[scheduler].from_config(pipe.scheduler.config)
    pipe.load_lora_weights(out)
    torch.manual_seed(3)  # the pipeline gives its scheduler no generator
    theirs = pipe(prompt=PROMPTS, guidance_scale=1.0, sigmas=SIGMAS, num_inference_steps=4,
                  latents=z, output_type="latent").images  # fmt: skip
    text, network = base.encode_prompts(PROMPTS), student.network(STUDENT)
    drawing, timesteps = rng(3), SolverGrid(40, base.schedule.clock).inference(4)
    fresh = [torch.randn(z.shape, generator=drawing) for _ in range(3)]
    sample = sample_consistency if method == "lcm" else sample_jumps
    with torch.no_grad():
        mine = sample(lambda x, t: network(x, t, text), z, timesteps, base.schedule, noise=fresh)
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)
