"""Contestants on FLUX, SD3 and others as their cards draw with them: plain diffusers, at fp32.

As `tests.real.cards`, for the suites of today's families:

    python -m tests.real.flow_cards flux|sd3|open_licences FOLDER

A card is restated by hand; of the benchmark only the source of the noise is used.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import (
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    FluxPipeline,
    StableDiffusion3Pipeline,
    ZImagePipeline,
)
from huggingface_hub import hf_hub_download

from bench.contestants.sampler import generator
from bench.results.keys import Key
from tests.real import official_flows as hub
from tests.real.cards import FP32, SIZE, Drawn


def dev() -> Iterator[Drawn]:
    """black-forest-labs/FLUX.1-dev."""
    pipe = FluxPipeline.from_pretrained(hub.DEV, **FP32)
    yield "teacher-28step", pipe, {"num_inference_steps": 28, "guidance_scale": 3.5,
                                   "max_sequence_length": 512}  # fmt: skip


def schnell() -> Iterator[Drawn]:
    """black-forest-labs/FLUX.1-schnell."""
    pipe = FluxPipeline.from_pretrained(hub.SCHNELL, **FP32)
    for steps in (1, 2, 4):
        yield f"schnell-{steps}step", pipe, {"num_inference_steps": steps, "guidance_scale": 0.0,
                                             "max_sequence_length": 256}  # fmt: skip


def hyper_flux() -> Iterator[Drawn]:
    """ByteDance/Hyper-SD, the LoRAs of FLUX.1-dev."""
    for steps in (8, 16):
        pipe = FluxPipeline.from_pretrained(hub.DEV, **FP32)
        name = f"Hyper-FLUX.1-dev-{steps}steps-lora.safetensors"
        pipe.load_lora_weights(hf_hub_download(hub.HYPER_SD, name))
        pipe.fuse_lora(lora_scale=0.125)
        yield f"hyper_sd-{steps}step", pipe, {"num_inference_steps": steps, "guidance_scale": 3.5}


def turbo_alpha() -> Iterator[Drawn]:
    """alimama-creative/FLUX.1-Turbo-Alpha."""
    pipe = FluxPipeline.from_pretrained(hub.DEV, **FP32)
    pipe.load_lora_weights(hf_hub_download(hub.TURBO_ALPHA, "diffusion_pytorch_model.safetensors"))
    pipe.fuse_lora()
    yield "turbo_alpha-8step", pipe, {"num_inference_steps": 8, "guidance_scale": 3.5,
                                      "max_sequence_length": 512}  # fmt: skip


def klein() -> Iterator[Drawn]:
    """black-forest-labs/FLUX.2-klein-4B."""
    pipe = Flux2KleinPipeline.from_pretrained(hub.KLEIN, **FP32)
    yield "klein-4step", pipe, {"num_inference_steps": 4, "guidance_scale": 1.0}


def sd3() -> Iterator[Drawn]:
    """stabilityai/stable-diffusion-3-medium-diffusers."""
    pipe = StableDiffusion3Pipeline.from_pretrained(hub.SD3, **FP32)
    yield "teacher-28step", pipe, {"num_inference_steps": 28, "guidance_scale": 7.0}


def hyper_sd3() -> Iterator[Drawn]:
    """ByteDance/Hyper-SD, the LoRAs of SD3."""
    for steps in (4, 8, 16):
        pipe = StableDiffusion3Pipeline.from_pretrained(hub.SD3, **FP32)
        name = f"Hyper-SD3-{steps}steps-CFG-lora.safetensors"
        pipe.load_lora_weights(hf_hub_download(hub.HYPER_SD, name))
        pipe.fuse_lora(lora_scale=0.125)
        yield f"hyper_sd-{steps}step", pipe, {"num_inference_steps": steps, "guidance_scale": 5.0}


def tdm() -> Iterator[Drawn]:
    """Luo-Yihong/TDM_sd3_lora, with SD3's own VAE; what its scheduler's file holds besides is as
    in diffusers."""
    pipe = StableDiffusion3Pipeline.from_pretrained(hub.SD3, **FP32)
    pipe.load_lora_weights(hub.TDM, weight_name="pytorch_lora_weights.safetensors",
                           adapter_name="tdm")  # fmt: skip
    pipe.set_adapters(["tdm"], [0.125])
    pipe.scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=6
    )
    yield "tdm-4step", pipe, {"num_inference_steps": 4, "guidance_scale": 1.0,
                              "negative_prompt": [""] * 2}  # fmt: skip


def sd35_turbo() -> Iterator[Drawn]:
    """stabilityai/stable-diffusion-3.5-large-turbo."""
    pipe = StableDiffusion3Pipeline.from_pretrained(hub.SD35, **FP32)
    yield "turbo-4step", pipe, {"num_inference_steps": 4, "guidance_scale": 0.0}


def z_image() -> Iterator[Drawn]:
    """Tongyi-MAI/Z-Image-Turbo: the noise levels of its 9 steps, as diffusers had them then; the
    last one is 0, so that step changes nothing."""
    pipe = ZImagePipeline.from_pretrained(hub.Z_IMAGE, **FP32)
    yield "z_image-8step", pipe, {"num_inference_steps": 9, "guidance_scale": 0.0,
                                  "sigmas": np.linspace(1, 0, 9).tolist()}  # fmt: skip


def qwen_lightning() -> Iterator[Drawn]:
    """lightx2v/Qwen-Image-Lightning."""
    scheduler = FlowMatchEulerDiscreteScheduler.from_config({
        "base_image_seq_len": 256, "base_shift": math.log(3), "invert_sigmas": False,
        "max_image_seq_len": 8192, "max_shift": math.log(3), "num_train_timesteps": 1000,
        "shift": 1.0, "shift_terminal": None, "stochastic_sampling": False,
        "time_shift_type": "exponential", "use_beta_sigmas": False, "use_dynamic_shifting": True,
        "use_exponential_sigmas": False, "use_karras_sigmas": False,
    })  # fmt: skip
    for steps in (4, 8):
        pipe = DiffusionPipeline.from_pretrained(hub.QWEN_IMAGE, scheduler=scheduler, **FP32)
        name = f"Qwen-Image-Lightning-{steps}steps-V2.0.safetensors"
        pipe.load_lora_weights(hub.LIGHTNING, weight_name=name)
        yield f"qwen_lightning-{steps}step", pipe, {"num_inference_steps": steps,
                                                    "true_cfg_scale": 1.0}  # fmt: skip


CARDS: dict[str, tuple[Callable[[], Iterator[Drawn]], ...]] = {
    "flux": (dev, schnell, hyper_flux, turbo_alpha, klein),
    "sd3": (sd3, hyper_sd3, tdm, sd35_turbo),
    "open_licences": (schnell, klein, z_image, qwen_lightning),
}


def pictures(pipe: Any, prompts: list[str], call: dict[str, Any]) -> Any:
    """Of the pipeline with the benchmark's source of noise for these prompts and seed 0."""
    pipe.set_progress_bar_config(disable=True)
    generators = [generator(Key(i, prompt, 0)) for i, prompt in enumerate(prompts)]
    own = list(prompts)  # ZImagePipeline writes its template into the list that it is given
    return pipe(prompt=own, generator=generators, height=SIZE, width=SIZE, output_type="np",
                **call).images  # fmt: skip


def main(suite: str, folder: Path) -> None:
    """Draw every row's pictures."""
    prompts = sys.stdin.read().splitlines()
    for card in CARDS[suite]:
        for row, pipe, call in card():
            np.save(folder / f"{row}.npy", pictures(pipe, prompts, call))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
