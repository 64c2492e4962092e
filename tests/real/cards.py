"""Every published contestant as its model's card draws with it: plain diffusers, at fp32.

    python -m tests.real.cards sdxl|sd15 FOLDER      prompts, one a line, from standard input

leaves FOLDER/<row>.npy, pictures [B, 64, 64, 3] in 0 to 1, for every row of the suites. A card is
restated by hand, on files of the hub under their own names; of the benchmark only the noise is
used. Cards write fp16 and, of SD1.5, other bases of the same kind.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoPipelineForText2Image,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    TCDScheduler,
    UNet2DConditionModel,
)
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file

from bench.contestants.sampler import generator, initial_noise
from bench.results.keys import Key

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
HYPER_SD, LIGHTNING, DMD2 = "ByteDance/Hyper-SD", "ByteDance/SDXL-Lightning", "tianweiy/DMD2"
SIZE = 64
Drawn = tuple[str, Any, dict[str, Any]]  # a row, its pipeline, and how it is called
FP32 = {"torch_dtype": torch.float32}
UNGUIDED = {"guidance_scale": 0}


def teacher() -> Iterator[Drawn]:
    """The base with the scheduler that it is published with."""
    pipe = StableDiffusionXLPipeline.from_pretrained(SDXL, **FP32)
    yield "teacher-25step", pipe, {"num_inference_steps": 25, "guidance_scale": 7.5}


def lcm() -> Iterator[Drawn]:
    """latent-consistency/lcm-lora-sdxl."""
    pipe = AutoPipelineForText2Image.from_pretrained(SDXL, **FP32)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    pipe.load_lora_weights("latent-consistency/lcm-lora-sdxl")
    pipe.fuse_lora()
    yield from _at("lcm", pipe, (1, 2, 4, 8))


def tcd() -> Iterator[Drawn]:
    """h1t/TCD-SDXL-LoRA."""
    pipe = StableDiffusionXLPipeline.from_pretrained(SDXL, **FP32)
    pipe.scheduler = TCDScheduler.from_config(pipe.scheduler.config)
    pipe.load_lora_weights("h1t/TCD-SDXL-LoRA")
    pipe.fuse_lora()
    yield from _at("tcd", pipe, (1, 2, 4, 8), eta=0.3)


def lightning() -> Iterator[Drawn]:
    """ByteDance/SDXL-Lightning, the full UNets; the one of one step predicts x0."""
    for steps, name, extra in (
        (1, "sdxl_lightning_1step_unet_x0", {"prediction_type": "sample"}),
        (2, "sdxl_lightning_2step_unet", {}),
        (4, "sdxl_lightning_4step_unet", {}),
        (8, "sdxl_lightning_8step_unet", {}),
    ):
        unet = UNet2DConditionModel.from_config(SDXL, subfolder="unet")
        unet.load_state_dict(load_file(hf_hub_download(LIGHTNING, f"{name}.safetensors")))
        pipe = StableDiffusionXLPipeline.from_pretrained(SDXL, unet=unet, **FP32)
        pipe.scheduler = EulerDiscreteScheduler.from_config(
            pipe.scheduler.config, timestep_spacing="trailing", **extra
        )
        yield from _at("lightning", pipe, (steps,))


def lightning_lora() -> Iterator[Drawn]:
    """ByteDance/SDXL-Lightning, the LoRAs."""
    for steps in (2, 4, 8):
        pipe = StableDiffusionXLPipeline.from_pretrained(SDXL, **FP32)
        name = f"sdxl_lightning_{steps}step_lora.safetensors"
        pipe.load_lora_weights(hf_hub_download(LIGHTNING, name))
        pipe.fuse_lora()
        pipe.scheduler = EulerDiscreteScheduler.from_config(
            pipe.scheduler.config, timestep_spacing="trailing"
        )
        yield from _at("lightning_lora", pipe, (steps,))


def hyper_sd(base: str = SDXL, file: str = "Hyper-SDXL", **parts: Any) -> Iterator[Drawn]:
    """ByteDance/Hyper-SD: a LoRA for each number of steps, and the one of one step at all."""
    for steps in (2, 4, 8):
        pipe = DiffusionPipeline.from_pretrained(base, **parts, **FP32)
        pipe.load_lora_weights(hf_hub_download(HYPER_SD, f"{file}-{steps}steps-lora.safetensors"))
        pipe.fuse_lora()
        pipe.scheduler = DDIMScheduler.from_config(
            pipe.scheduler.config, timestep_spacing="trailing"
        )
        yield from _at("hyper_sd", pipe, (steps,))
    pipe = DiffusionPipeline.from_pretrained(base, **parts, **FP32)
    pipe.load_lora_weights(hf_hub_download(HYPER_SD, f"{file}-1step-lora.safetensors"))
    pipe.fuse_lora()
    pipe.scheduler = TCDScheduler.from_config(pipe.scheduler.config)
    yield from _at("hyper_sd", pipe, (1,), eta=1.0)
    yield from _at("hyper_sd_unified", pipe, (1, 2, 4, 8), eta=1.0)


def hyper_sd_cfg() -> Iterator[Drawn]:
    """ByteDance/Hyper-SD's LoRAs that keep guidance, of 5 to 8 by the card, which shows no script
    for them: as those without."""
    for steps in (8, 12):
        pipe = DiffusionPipeline.from_pretrained(SDXL, **FP32)
        name = f"Hyper-SDXL-{steps}steps-CFG-lora.safetensors"
        pipe.load_lora_weights(hf_hub_download(HYPER_SD, name))
        pipe.fuse_lora()
        pipe.scheduler = DDIMScheduler.from_config(
            pipe.scheduler.config, timestep_spacing="trailing"
        )
        yield from _at("hyper_sd_cfg", pipe, (steps,), guidance_scale=5)


def hyper_sd_unet() -> Iterator[Drawn]:
    """ByteDance/Hyper-SD, the full UNet of one step."""
    unet = UNet2DConditionModel.from_config(SDXL, subfolder="unet")
    unet.load_state_dict(load_file(hf_hub_download(HYPER_SD, "Hyper-SDXL-1step-Unet.safetensors")))
    pipe = DiffusionPipeline.from_pretrained(SDXL, unet=unet, **FP32)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    yield from _at("hyper_sd_unet", pipe, (1,), timesteps=[800])


def turbo() -> Iterator[Drawn]:
    """stabilityai/sdxl-turbo, with the scheduler that it is published with."""
    pipe = AutoPipelineForText2Image.from_pretrained("stabilityai/sdxl-turbo", **FP32)
    yield from _at("turbo", pipe, (1, 2, 4))


def dmd2() -> Iterator[Drawn]:
    """tianweiy/DMD2, the full UNets."""
    for steps, timesteps in ((1, [399]), (4, [999, 749, 499, 249])):
        unet = UNet2DConditionModel.from_config(SDXL, subfolder="unet")
        name = f"dmd2_sdxl_{steps}step_unet_fp16.bin"
        unet.load_state_dict(torch.load(hf_hub_download(DMD2, name)))
        pipe = DiffusionPipeline.from_pretrained(SDXL, unet=unet, **FP32)
        pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
        yield from _at("dmd2", pipe, (steps,), timesteps=timesteps)


def dmd2_lora() -> Iterator[Drawn]:
    """tianweiy/DMD2, the LoRA."""
    pipe = DiffusionPipeline.from_pretrained(SDXL, **FP32)
    pipe.load_lora_weights(hf_hub_download(DMD2, "dmd2_sdxl_4step_lora_fp16.safetensors"))
    pipe.fuse_lora(lora_scale=1.0)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    yield from _at("dmd2_lora", pipe, (4,), timesteps=[999, 749, 499, 249])


def pcm() -> Iterator[Drawn]:
    """wangfuyun/PCM_Weights, those for little guidance, without any."""
    for steps in (2, 4, 8):
        pipe = StableDiffusionXLPipeline.from_pretrained(SDXL, **FP32)
        name = f"pcm_sdxl_smallcfg_{steps}step_converted.safetensors"
        pipe.load_lora_weights("wangfuyun/PCM_Weights", weight_name=name, subfolder="sdxl")
        pipe.scheduler = DDIMScheduler(
            num_train_timesteps=1000,
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="trailing",
            clip_sample=False,
            set_alpha_to_one=False,
        )
        yield from _at("pcm", pipe, (steps,))


def teacher_of_sd15() -> Iterator[Drawn]:
    """The base with DDIM."""
    pipe = StableDiffusionPipeline.from_pretrained(SD15, safety_checker=None, **FP32)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    yield "teacher-25step", pipe, {"num_inference_steps": 25, "guidance_scale": 7.5}


def lcm_of_sd15() -> Iterator[Drawn]:
    """latent-consistency/lcm-lora-sdv1-5."""
    pipe = AutoPipelineForText2Image.from_pretrained(SD15, safety_checker=None, **FP32)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    pipe.load_lora_weights("latent-consistency/lcm-lora-sdv1-5")
    pipe.fuse_lora()
    yield from _at("lcm", pipe, (1, 2, 4, 8))


def tcd_of_sd15() -> Iterator[Drawn]:
    """h1t/TCD-SD15-LoRA."""
    pipe = StableDiffusionPipeline.from_pretrained(SD15, safety_checker=None, **FP32)
    pipe.scheduler = TCDScheduler.from_config(pipe.scheduler.config)
    pipe.load_lora_weights("h1t/TCD-SD15-LoRA")
    pipe.fuse_lora()
    yield from _at("tcd", pipe, (1, 2, 4, 8), eta=0.3)


def hyper_sd_of_sd15() -> Iterator[Drawn]:
    """ByteDance/Hyper-SD's LoRAs of SD1.5."""
    yield from hyper_sd(SD15, "Hyper-SD15", safety_checker=None)


CARDS: dict[str, tuple[Callable[[], Iterator[Drawn]], ...]] = {
    "sdxl": (teacher, lcm, tcd, lightning, lightning_lora, hyper_sd, hyper_sd_cfg, hyper_sd_unet,
             turbo, dmd2, dmd2_lora, pcm),
    "sd15": (teacher_of_sd15, lcm_of_sd15, tcd_of_sd15, hyper_sd_of_sd15),
}  # fmt: skip


def _at(name: str, pipe: Any, steps: tuple[int, ...], **call: Any) -> Iterator[Drawn]:
    for count in steps:
        yield f"{name}-{count}step", pipe, {"num_inference_steps": count, **UNGUIDED, **call}


def pictures(pipe: Any, prompts: list[str], call: dict[str, Any]) -> Any:
    """Of the pipeline with the benchmark's noise for these prompts and seed 0."""
    pipe.set_progress_bar_config(disable=True)
    generators = [generator(Key(i, prompt, 0)) for i, prompt in enumerate(prompts)]
    latents = initial_noise(generators, (4, SIZE // 8, SIZE // 8))
    return pipe(prompts, latents=latents, generator=generators, height=SIZE, width=SIZE,
                output_type="np", **call).images  # fmt: skip


def main(family: str, folder: Path) -> None:
    """Draw every row's pictures."""
    prompts = sys.stdin.read().splitlines()
    for card in CARDS[family]:
        for row, pipe, call in card():
            np.save(folder / f"{row}.npy", pictures(pipe, prompts, call))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
