"""Every published contestant's settings, on tiny random models of the real classes, against the
diffusers pipeline used as the model's card says: the images are equal, byte for byte.

The left column of CARDS is what a card writes, restated by hand; the suites are read as they ship.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    TCDScheduler,
)
from safetensors.torch import load_file

from bench import cli
from bench.contestants import pipelines, unet_weights
from bench.contestants.sampler import Sampler, generator, initial_noise
from bench.results.keys import Key
from bench.suite.contestant import Row

SIZE = 64
CPU = torch.device("cpu")
KEYS = [Key(0, "a small red circle", 0), Key(1, "two large blue stars, one big green ring", 0)]
TRAILING = {"timestep_spacing": "trailing"}
# row of the suite -> the card's scheduler, what it changes of it, and the call of the pipeline
CARDS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "lcm-4step": (LCMScheduler, {}, {"num_inference_steps": 4, "guidance_scale": 0}),
    "tcd-4step": (TCDScheduler, {},
                  {"num_inference_steps": 4, "guidance_scale": 0, "eta": 0.3}),
    "lightning-1step": (EulerDiscreteScheduler, {**TRAILING, "prediction_type": "sample"},
                        {"num_inference_steps": 1, "guidance_scale": 0}),
    "lightning-4step": (EulerDiscreteScheduler, TRAILING,
                        {"num_inference_steps": 4, "guidance_scale": 0}),
    "lightning_lora-2step": (EulerDiscreteScheduler, TRAILING,
                             {"num_inference_steps": 2, "guidance_scale": 0}),
    "hyper_sd-1step": (TCDScheduler, {},
                       {"num_inference_steps": 1, "guidance_scale": 0, "eta": 1.0}),
    "hyper_sd-2step": (DDIMScheduler, TRAILING,
                       {"num_inference_steps": 2, "guidance_scale": 0}),
    "hyper_sd-8step": (DDIMScheduler, TRAILING,
                       {"num_inference_steps": 8, "guidance_scale": 0}),
    "hyper_sd_unified-4step": (TCDScheduler, {},
                               {"num_inference_steps": 4, "guidance_scale": 0, "eta": 1.0}),
    "hyper_sd_unet-1step": (LCMScheduler, {},
                            {"num_inference_steps": 1, "guidance_scale": 0, "timesteps": [800]}),
    "turbo-4step": (EulerAncestralDiscreteScheduler, TRAILING,
                    {"num_inference_steps": 4, "guidance_scale": 0}),
    "dmd2-1step": (LCMScheduler, {},
                   {"num_inference_steps": 1, "guidance_scale": 0, "timesteps": [399]}),
    "dmd2_lora-4step": (LCMScheduler, {},
                        {"guidance_scale": 0, "timesteps": [999, 749, 499, 249]}),
    "pcm-2step": (DDIMScheduler, {**TRAILING, "clip_sample": False, "set_alpha_to_one": False},
                  {"num_inference_steps": 2, "guidance_scale": 0}),
}  # fmt: skip
GUIDED = {"num_inference_steps": 25, "guidance_scale": 7.5}
SDXL = {**CARDS, "teacher-25step": (EulerDiscreteScheduler, {}, GUIDED)}
ONLY_SDXL = ("lightning", "hyper_sd_unet", "turbo", "dmd2", "pcm")
SD15 = {k: v for k, v in CARDS.items() if not k.startswith(ONLY_SDXL)}
SD15["teacher-25step"] = (DDIMScheduler, {"timestep_spacing": "leading"}, GUIDED)


def suite_row(suite: str, name: str) -> Row:
    found = cli.read([f"suite={suite}"]).suite
    assert found is not None
    return next(row for row in found.rows if row.name == name)


def local(row: Row, base: Path, file: Path | None) -> Row:
    """The row on files of this machine, at fp32."""
    from dataclasses import replace

    weights = "" if file is None else str(file)
    settings = replace(row.settings, base=str(base), weights=weights, precision="fp32")
    return Row(settings, row.steps)


def as_the_card_says(pipeline: Any, row: Row, card: tuple[Any, Any, Any], file: Path | None) -> Any:
    """uint8 images of the diffusers pipeline with our noise."""
    kind, changes, call = card
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **changes)
    if row.settings.source == "unet":
        pipeline.unet.load_state_dict(load_file(file))
    elif file is not None:
        pipeline.load_lora_weights(file.parent, weight_name=file.name)
        pipeline.fuse_lora()
    pipeline.set_progress_bar_config(disable=True)
    for network in (pipeline.unet, pipeline.vae):  # the same rounding
        network.to(memory_format=torch.channels_last)
    generators = [generator(key) for key in KEYS]
    latents = initial_noise(generators, (4, 16, 16))
    images = pipeline([key.prompt for key in KEYS], latents=latents, generator=generators,
                      height=SIZE, width=SIZE, output_type="np", **call).images  # fmt: skip
    return (images * 255).round().astype(np.uint8)


def ours(row: Row, file: Path | None) -> Any:
    assert row.steps is not None
    pipeline = pipelines.pipeline(row.settings, file, CPU)
    return Sampler(pipeline, row.settings.sampling, row.steps, SIZE)(KEYS).images


@pytest.mark.parametrize("name", sorted(SDXL))
def test_sdxl_contestants_are_sampled_as_their_cards_say(
    name: str, tiny_sdxl: Path, sdxl_files: Path
) -> None:
    row = suite_row("sdxl_1to8", name)
    kinds = {"lora": "peft.safetensors", "unet": "unet.safetensors"}
    file = sdxl_files / kinds[row.settings.source] if row.settings.source in kinds else None
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl, add_watermarker=False)
    theirs = as_the_card_says(pipeline, row, SDXL[name], file)
    np.testing.assert_array_equal(ours(local(row, tiny_sdxl, file), file), theirs)


@pytest.mark.parametrize("name", sorted(SD15))
def test_sd15_contestants_are_sampled_as_their_cards_say(
    name: str, tiny_base: Path, sd15_lora: Path
) -> None:
    row = suite_row("sd15_1to8", name)
    file = sd15_lora if row.settings.source == "lora" else None
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_base)
    theirs = as_the_card_says(pipeline, row, SD15[name], file)
    np.testing.assert_array_equal(ours(local(row, tiny_base, file), file), theirs)


def test_the_timesteps_are_the_published_ones(tiny_sdxl: Path) -> None:
    """reference: DDIM and Euler trailing, LCM's and TCD's 50 point grid, Hyper-SD's t = 800."""
    from bench.contestants.sampler import make_scheduler, set_steps

    expected = {
        "lcm-4step": [999, 759, 499, 259], "tcd-2step": [999, 499],
        "hyper_sd-4step": [999, 749, 499, 249], "lightning-4step": [999, 749, 499, 249],
        "hyper_sd-8step": [999, 874, 749, 624, 499, 374, 249, 124], "hyper_sd_unet-1step": [800],
        "hyper_sd-1step": [999], "lightning-1step": [999], "turbo-2step": [999, 499],
        "dmd2-1step": [399], "dmd2-4step": [999, 749, 499, 249], "pcm-4step": [999, 749, 499, 249],
    }  # fmt: skip
    base = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl).scheduler
    for name, timesteps in expected.items():
        row = suite_row("sdxl_1to8", name)
        assert row.steps is not None
        scheduler = make_scheduler(base, row.settings.sampling)
        set_steps(scheduler, row.settings.sampling, row.steps, CPU)
        assert scheduler.timesteps.tolist() == timesteps, name


@pytest.mark.parametrize("layout", ["peft", "diffusers", "kohya"])
def test_a_lora_of_each_key_layout_is_the_same_network(
    layout: str, tiny_sdxl: Path, sdxl_files: Path
) -> None:
    row = local(suite_row("sdxl_1to8", "hyper_sd-2step"), tiny_sdxl, None)
    first = pipelines.pipeline(row.settings, sdxl_files / "peft.safetensors", CPU).unet.state_dict()
    other = pipelines.pipeline(row.settings, sdxl_files / f"{layout}.safetensors", CPU).unet
    for name, value in other.state_dict().items():
        torch.testing.assert_close(value, first[name], atol=1e-6, rtol=1e-6)


def test_a_lora_of_the_text_encoders_too_is_used_and_leaves_no_trace(
    tiny_sdxl: Path, sdxl_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # transformers may want a newer PEFT than there is; what is tested here does not need it.
    monkeypatch.setattr("transformers.integrations.peft.check_peft_version", lambda **words: None)
    file = sdxl_files / "text.safetensors"
    row = local(suite_row("sdxl_1to8", "hyper_sd-2step"), tiny_sdxl, None)
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl, add_watermarker=False)
    plain = ours(row, sdxl_files / "peft.safetensors")
    tuned = ours(row, file)
    np.testing.assert_array_equal(
        tuned, as_the_card_says(pipeline, row, CARDS["hyper_sd-2step"], file)
    )
    assert (tuned != plain).any()
    np.testing.assert_array_equal(ours(row, sdxl_files / "peft.safetensors"), plain)


def test_a_pickle_is_read_without_its_code_and_once(
    tiny_sdxl: Path, sdxl_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from bench.errors import UsageError

    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    row = local(suite_row("sdxl_1to8", "hyper_sd_unet-1step"), tiny_sdxl, None)
    theirs = load_file(sdxl_files / "unet.safetensors")
    unet = pipelines.pipeline(row.settings, sdxl_files / "unet.bin", CPU).unet.state_dict()
    assert all(torch.equal(unet[name], value) for name, value in theirs.items())
    with monkeypatch.context() as patched:
        patched.setattr("torch.load", lambda *words, **more: pytest.fail("read twice"))
        assert unet_weights.safe(sdxl_files / "unet.bin").suffix == ".safetensors"
    torch.save({"code": pytest.fail}, tmp_path / "bad.bin")
    with pytest.raises(UsageError, match=r"bad\.bin: cannot be loaded"):
        pipelines.pipeline(row.settings, tmp_path / "bad.bin", CPU)


def test_half_precision_decodes_without_overflow(tiny_sdxl: Path) -> None:
    """SDXL's VAE runs in fp32 whatever the networks' precision, as diffusers upcasts it."""
    from dataclasses import replace

    row = local(suite_row("sdxl_1to8", "hyper_sd-2step"), tiny_sdxl, None)
    half = replace(row.settings, precision="bf16", source="base")
    pipeline = pipelines.pipeline(half, None, CPU)
    assert pipeline.unet.dtype == torch.bfloat16 and pipeline.vae.dtype == torch.float32
    images = Sampler(pipeline, half.sampling, 2, SIZE)(KEYS).images
    whole = ours(Row(replace(half, precision="fp32"), 2), None)
    assert np.abs(images.astype(int) - whole).mean() < 8


def test_many_large_pictures_are_decoded_in_parts(
    tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = local(suite_row("sdxl_1to8", "teacher-25step"), tiny_sdxl, None)
    pipeline = pipelines.pipeline(row.settings, None, CPU)
    sampler: Callable[..., Any] = Sampler(pipeline, row.settings.sampling, 2, SIZE)
    whole = sampler(KEYS).images
    monkeypatch.setattr("bench.contestants.sampler.DECODED", SIZE**2)
    assert np.abs(sampler(KEYS).images.astype(int) - whole).max() <= 1
