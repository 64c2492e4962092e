"""Whole UNets: drawn as diffusers draws them, or refused in one line that says what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import LatentConsistencyModelPipeline, LCMScheduler, StableDiffusionPipeline
from diffusers import UNet2DConditionModel as UNet
from safetensors.torch import load_file, save_file

from bench.contestants import identity, pipelines, schedulers
from bench.contestants.sampler import Sampler, generator, initial_noise
from bench.errors import UsageError
from bench.results.keys import Key
from bench.suite import contestant
from bench.suite.contestant import ContestantSettings, Row
from bench.suite.prompts import PromptSet
from hypersd.base import load_base
from hypersd.hashes import Hashes
from hypersd.student import Student

CPU = torch.device("cpu")
KEYS = [Key(0, "a red circle", 0), Key(1, "two blue stars", 0)]
PROMPTS = PromptSet("two", tuple(key.prompt for key in KEYS))
NAME = "diffusion_pytorch_model.safetensors"
LCM: dict[str, Any] = {"scheduler": "lcm", "original_steps": 40}
SUITE = """
title: One UNet
version: 1
base: {base}
size: 64
steps: [2]
prompts: {{set: mine.txt, n: 2}}
metrics: [clip]
contestants: {{mine: {{unet: {unet}, scheduler: lcm}}}}
"""


@pytest.fixture(scope="module")
def guided(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base's UNet with an input for the guidance, as LCM's own."""
    folder = tmp_path_factory.mktemp("unets") / "guided"
    config = UNet.load_config(tiny_base / "unet")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet.from_config({**config, "time_cond_proj_dim": 16})
    unet.load_state_dict({**unet.state_dict(), **load_file(tiny_base / "unet" / NAME)})
    unet.save_pretrained(folder)
    return folder


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path) -> Path:
    """A copy of the tiny base's UNet."""
    shutil.copytree(tiny_base / "unet", tmp_path / "unet")
    return tmp_path / "unet"


def settings(base: Path, **given: Any) -> ContestantSettings:
    return contestant.read("mine", {"base": str(base), **given}, (4,))


def loaded(base: Path, unet: Path, **given: Any) -> Any:
    """What a run does with it: its plan first."""
    from bench.contestants import files

    row = Row(settings(base, unet=str(unet), scheduler="ddim", **given), 4)
    identity.contestant(row, PROMPTS, Hashes())
    return pipelines.pipeline(row.settings, files.weight_file("mine", row.settings), CPU)


def reconfigured(unet: Path, **changes: Any) -> None:
    config = json.loads((unet / "config.json").read_text())
    (unet / "config.json").write_text(json.dumps(config | changes))


def reweighted(unet: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    held = load_file(unet / NAME)
    change(held)
    save_file(held, unet / NAME)


def test_guidance_as_an_input_is_drawn_as_lcms_pipeline_draws_it(
    guided: Path, tiny_base: Path
) -> None:
    mine = settings(tiny_base, unet=str(guided), guidance=8.5, **LCM)
    ours = Sampler(pipelines.pipeline(mine, guided / NAME, CPU), mine.sampling, 4, 64)(KEYS)
    parts = StableDiffusionPipeline.from_pretrained(tiny_base).components
    scheduler = LCMScheduler.from_config(parts["scheduler"].config, original_inference_steps=40)
    parts |= {"unet": UNet.from_pretrained(guided), "scheduler": scheduler}
    reference = LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)
    reference.set_progress_bar_config(disable=True)

    def theirs(guidance: float) -> Any:
        generators = [generator(key) for key in KEYS]
        images = reference(
            [key.prompt for key in KEYS], num_inference_steps=4, original_inference_steps=40,
            guidance_scale=guidance, latents=initial_noise(generators, (4, 16, 16)),
            generator=generators, output_type="np",
        ).images  # fmt: skip
        return (images * 255).round().astype(int)

    assert np.abs(ours.images.astype(int) - theirs(8.5)).max() <= 1
    assert np.abs(theirs(1.0) - theirs(8.5)).max() > 1
    row = Row(mine, 4)
    assert ours.unet_forwards == 4 * len(KEYS)
    assert schedulers.evaluations(row) == schedulers.Evaluations(4)
    assert schedulers.described(mine) == "lcm, guidance 8.5 as an input"


def test_the_guidance_must_be_said_and_is_in_the_identity(guided: Path, tiny_base: Path) -> None:
    def named(guidance: float | None) -> Any:
        return identity.parts(
            Row(settings(tiny_base, unet=str(guided), guidance=guidance, **LCM), 4),
            PROMPTS,
            Hashes(),
        )

    said = r"mine: its UNet takes guidance as an input.*valid: contestants\.mine\.guidance=8\.5"
    for guidance in (None, 1.0):
        with pytest.raises(UsageError, match=said):
            named(guidance)
    assert named(8.5) != named(7.5)
    assert named(8.5)["guidance"] == "an input of the network"


def inputs(**changes: Any) -> Callable[[Path], None]:
    return lambda unet: reconfigured(unet, **changes)


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    return lambda unet: reweighted(unet, change)


BIAS = "conv_out.bias"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "inpainting": (inputs(in_channels=9), r"in_channels=9 \(of inpainting\).*valid: in_channels=4"),
    "classes": (inputs(class_embed_type="timestep"), "class_embed_type=timestep"),
    "numbered classes": (inputs(num_class_embeds=10), "num_class_embeds=10"),
    "pictures": (inputs(encoder_hid_dim=8), "encoder_hid_dim=8"),
    "sizes": (inputs(addition_embed_type="text_time"), "addition_embed_type=text_time"),
    "text": (inputs(cross_attention_dim=64), "cross_attention_dim=64.*valid: .*=32"),
    "another class": (
        inputs(_class_name="UNetMotionModel"), "names UNetMotionModel; valid: UNet2DConditionModel",
    ),
    "no class": (lambda unet: (unet / "config.json").write_text("{}"), "names no class"),
    "no JSON": (lambda unet: (unet / "config.json").write_text("{"), r"config\.json: damaged"),
    "no network": (inputs(block_out_channels=[32]), r"config\.json: makes no UNet"),
    "more layers": (
        inputs(layers_per_block=2),
        r"lacks down_blocks\.0\.resnets\.1\..*config\.json \(layers_per_block=2\)",
    ),
    "guidance": (
        inputs(time_cond_proj_dim=16),
        r"lacks time_embedding\.cond_proj\.weight.*\(time_cond_proj_dim=16\)",
    ),
    "wider": (
        inputs(block_out_channels=[64, 64]),
        r"is \[32.*\], by .*config\.json it is \[64.*\] \(block_out_channels=\[64, 64\]\)",
    ),
    "a weight less": (weights(lambda held: held.pop(BIAS)), rf"lacks {BIAS}"),
    "a weight more": (
        weights(lambda held: held.update({"nonsense.weight": torch.zeros(3)})),
        r"nonsense\.weight is no weight of a UNet by .*config\.json",
    ),
    "a class embedding": (
        weights(lambda held: held.update({"class_embedding.weight": torch.zeros(3)})),
        r"class_embedding\.weight is no weight .* \(class_embed_type=None\)",
    ),
    "another shape": (
        weights(lambda held: held.update({BIAS: torch.zeros(8)})),
        rf"{BIAS} is \[8\], by .* it is \[4\] \(out_channels=4\)",
    ),
    "not a number": (
        weights(lambda held: held[BIAS].fill_(float("nan"))), rf"{BIAS} is not finite",
    ),
    "integers": (
        weights(lambda held: held.update({BIAS: held[BIAS].to(torch.int8)})), rf"{BIAS} holds int8",
    ),
    "fp8": (
        weights(lambda held: held.update({BIAS: held[BIAS].to(torch.float8_e4m3fn)})),
        rf"{BIAS} holds float8_e4m3fn; valid: float32, float16, bfloat16",
    ),
    "the original form": (
        weights(lambda held: [held.update({f"model.diffusion_model.{name}": held.pop(name)})
                              for name in list(held)]),
        r"a checkpoint in its original form \(model\.diffusion_model\.\*\)",
    ),
    "shards": (
        lambda unet: (unet / NAME).rename(unet / NAME.replace(".", "-00001-of-00002.")),
        "00001-of-00002.safetensors is a part of a UNet in shards, which is not read",
    ),
    "nothing": (lambda unet: (unet / NAME).unlink(), f"holds no {NAME}"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(what: str, copy: Path, tiny_base: Path) -> None:
    change, says = REFUSED[what]
    change(copy)
    with pytest.raises(UsageError, match=says) as caught:
        loaded(tiny_base, copy, guidance=8.5)
    said = str(caught.value)
    assert "\n" not in said and ("contestants.mine" in said or str(copy) in said)


def test_weights_that_contradict_the_bases_configuration(
    guided: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """Of a file alone, which is taken for a UNet like the base's."""
    shutil.copy(guided / NAME, tmp_path / "mine.safetensors")
    says = r"time_embedding\.cond_proj\.weight is no weight .*unet/config.json \(time_cond_proj_dim"
    with pytest.raises(UsageError, match=says):
        loaded(tiny_base, tmp_path / "mine.safetensors", guidance=8.5)


def test_a_weight_that_fp16_cannot_hold(copy: Path, tiny_base: Path) -> None:
    reweighted(copy, lambda held: held[BIAS].fill_(1e6))
    half = replace(settings(tiny_base, unet=str(copy), scheduler="ddim"), precision="fp16")
    with pytest.raises(UsageError, match=rf"{BIAS} is too large for fp16; valid: precision=bf16"):
        pipelines.pipeline(half, copy / NAME, CPU)


@pytest.mark.parametrize("suffix", ["bin", "pt", "ckpt"])
def test_pickles_of_tensors_are_read(
    suffix: str, copy: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    held, path = load_file(copy / NAME), copy / f"diffusion_pytorch_model.{suffix}"
    torch.save(held if suffix == "bin" else {"state_dict": held}, path)
    (copy / NAME).unlink()
    found = loaded(tiny_base, copy if suffix == "bin" else path).unet.state_dict()
    assert all(torch.equal(found[name], value) for name, value in held.items())
    torch.save({"epoch": 3, **held}, path)
    with pytest.raises(UsageError, match="holds no tensors by name"):
        loaded(tiny_base, path)


@pytest.mark.parametrize("what", ["inpainting", "another class", "a weight less", "not a number"])
def test_a_student_takes_no_other_unet(what: str, copy: Path, tiny_base: Path) -> None:
    change, says = REFUSED[what]
    base = load_base(str(tiny_base), CPU)
    student = Student(base.network, base.schedule, adapters=[], full=["student"])
    student.load("student", copy)
    change(copy)
    with pytest.raises(UsageError, match=says):
        student.load("student", copy)


def whole(folder: Path, tiny_base: Path, unet: Path) -> Path:
    """A pipeline's folder with another UNet."""
    shutil.copytree(tiny_base, folder)
    shutil.rmtree(folder / "unet")
    shutil.copytree(unet, folder / "unet")
    return folder


def test_a_pipeline_that_is_told_the_guidance(
    guided: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """LatentConsistencyModelPipeline's folder is read as well; nobody is trained on it."""
    folder = whole(tmp_path / "lcm", tiny_base, guided)
    index = json.loads((folder / "model_index.json").read_text())
    index["_class_name"] = "LatentConsistencyModelPipeline"
    (folder / "model_index.json").write_text(json.dumps(index))
    mine = contestant.read("mine", {"pipeline": str(folder), "guidance": 8.5, **LCM}, (4,))
    found = Sampler(pipelines.pipeline(mine, None, CPU), mine.sampling, 4, 64)(KEYS)
    other = settings(tiny_base, unet=str(guided), guidance=8.5, **LCM)
    same = Sampler(pipelines.pipeline(other, guided / NAME, CPU), other.sampling, 4, 64)(KEYS)
    np.testing.assert_array_equal(found.images, same.images)
    with pytest.raises(UsageError, match="takes guidance as an input; valid: a base whose"):
        load_base(str(folder), CPU)


def test_a_base_that_wants_more_or_lacks_a_weight(
    copy: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """diffusers would draw the missing one at random, each time anew."""
    reweighted(copy, lambda held: held.pop(BIAS))
    folder = whole(tmp_path / "lacking", tiny_base, copy)
    with pytest.raises(UsageError, match=r"lacks weights \(.*conv_out\.bias"):
        load_base(str(folder), CPU)
    with torch.random.fork_rng():
        UNet.from_config({**UNet.load_config(copy), "num_class_embeds": 3}).save_pretrained(copy)
    folder = whole(tmp_path / "classes", tiny_base, copy)
    with pytest.raises(
        UsageError, match="its UNet has num_class_embeds=3, an input that it is not"
    ):
        load_base(str(folder), CPU)


def test_what_libraries_warn_of_reaches_the_user(
    bench: Callable[..., int], copy: Path, tiny_base: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """In a line each, once for two contestants on one base; from the cache as well."""
    reweighted(copy, lambda held: held.update({"nonsense.weight": torch.zeros(3)}))
    base = whole(tmp_path / "base", tiny_base, copy)
    (tmp_path / "mine.txt").write_text("".join(f"{key.prompt}\n" for key in KEYS))
    suite = SUITE.format(base=base, unet=tiny_base / "unet")
    (tmp_path / "own.yaml").write_text(suite[:-2] + ", other: {scheduler: ddim}}\n")
    for out in ("first", "cached"):
        assert bench("suite=own.yaml", "device=cpu", f"out={out}") == 0
        said = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
        (line,) = json.loads((tmp_path / out / "result.json").read_text())["ledger"]["warnings"]
        assert line.startswith("mine-2step: Some weights of the model checkpoint at")
        assert "not used when initializing UNet2DConditionModel: ['nonsense.weight']" in line
        assert said == ([f"warning: {line}"] if out == "first" else [])
