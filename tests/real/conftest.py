"""Tiny random models of the real classes: an SDXL pipeline, and one of each key layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import (
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from tests.real import evaluators, official, official_flows
from tests.support import models
from tests.support.judges import Judges

PROMPTS = ("a red circle", "two blue stars", "a green ring")
WIDTHS = 16, 24  # of the text encoders


@pytest.fixture(scope="session")
def tiny_sdxl(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StableDiffusionXLPipeline folder with random weights: 64 px, latents 4x16x16, the scheduler
    configuration of SDXL base."""
    folder = tmp_path_factory.mktemp("models") / "tiny_sdxl"
    tokenizer = CLIPTokenizer.from_pretrained(tiny_base / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        parts = {
            "unet": models.sdxl_unet(16, *WIDTHS),
            "vae": models.vae(8, 3, scaling_factor=0.13025, force_upcast=True),
            "text_encoder": models.text_encoder(CLIPTextModel, tokenizer, WIDTHS[0]),
            "text_encoder_2": models.text_encoder(
                CLIPTextModelWithProjection, tokenizer, WIDTHS[1]
            ),
        }
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing="leading",
    )
    # What the published scheduler_config.json holds besides, and DDIM reads.
    scheduler.register_to_config(clip_sample=False, set_alpha_to_one=False, skip_prk_steps=True)
    pipeline = StableDiffusionXLPipeline(
        **parts,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=scheduler,
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_hub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, official.Files]:
    """All that the suites on published models take from the hub, small and under their ids."""
    folder = tmp_path_factory.mktemp("hub")
    found = official.hub(folder) | evaluators.hub(folder / "evaluators")
    for repo, files in official_flows.hub(folder / "flows").items():
        found[repo] = found.get(repo, {}) | files
    return found


def _text_lora() -> dict[str, torch.Tensor]:
    """A LoRA of rank 4 of the first text encoder (width 16), in PEFT's keys."""
    rng = torch.Generator().manual_seed(7)
    shapes = {"lora_A": (4, 16), "lora_B": (16, 4)}
    return {
        f"text_encoder.text_model.encoder.layers.{layer}.self_attn.{part}.{half}.weight":
            torch.randn(shape, generator=rng) * 0.2
        for layer in range(2) for part in ("q_proj", "v_proj") for half, shape in shapes.items()
    }  # fmt: skip


@pytest.fixture(scope="session")
def sdxl_files(tiny_sdxl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`peft`, `diffusers` and `kohya.safetensors`: one LoRA in three key layouts.
    `text.safetensors`: it and one of the first text encoder.  `unet.safetensors`: another UNet's
    weights, `unet.bin`: these as a pickle."""
    from diffusers.utils import convert_state_dict_to_kohya
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("files")
    unet = UNet2DConditionModel.from_pretrained(tiny_sdxl, subfolder="unet")
    state = models.random_lora(unet, seed=4)
    named = {f"unet.{key}": value.contiguous() for key, value in state.items()}
    save_file(named, folder / "peft.safetensors")
    save_file(named | _text_lora(), folder / "text.safetensors")
    old = {key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"): v
           for key, v in named.items()}  # fmt: skip
    save_file(old, folder / "diffusers.safetensors")
    kohya = convert_state_dict_to_kohya(named)
    save_file({k: v.contiguous() for k, v in kohya.items()}, folder / "kohya.safetensors")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        full = models.sdxl_unet(16, *WIDTHS).state_dict()
    save_file(full, folder / "unet.safetensors")
    torch.save(full, folder / "unet.bin")
    return folder


@pytest.fixture(scope="session")
def sd15_lora(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA file of the tiny SD1.5 base."""
    folder = tmp_path_factory.mktemp("sd15")
    unet = UNet2DConditionModel.from_pretrained(tiny_base, subfolder="unet")
    StableDiffusionPipeline.save_lora_weights(folder, models.random_lora(unet, seed=6))
    return folder / "pytorch_lora_weights.safetensors"


@pytest.fixture
def judged(judges: Judges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in which every metric is a cheap one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny_suite(judged: Path, tiny_sdxl: Path) -> Callable[..., Path]:
    """(contestants, steps, prompts=3) -> the working directory, with a tiny.yaml of these on the
    tiny SDXL."""

    def write(contestants: str, steps: list[int], prompts: int = 3) -> Path:
        lines = PROMPTS[:prompts]
        (judged / "mine.txt").write_text("\n".join(lines) + "\n")
        (judged / "tiny.yaml").write_text(f"""
title: Tiny
version: 1
base: {tiny_sdxl}
size: 64
steps: {steps}
prompts: {{set: mine.txt, n: {prompts}}}
metrics: [clip]
contestants:
{contestants}
""")
        return judged

    return write
