"""Small models of the real classes in the real key layouts, under the ids that suites name.

64 px; every file that the hub lists of a base is there, also those that nobody needs, and its
scheduler is configured as published. Evaluators: tests.real.evaluators.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import convert_state_dict_to_kohya
from safetensors.torch import save

from tests.hypersd.real_models import make_sd15, make_sdxl
from tests.support import models

Files = dict[str, bytes]
State = dict[str, torch.Tensor]
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
TURBO = "stabilityai/sdxl-turbo"
NAMED = {"feature_extractor": ["transformers", "CLIPImageProcessor"]}
CHECKER = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
PREPROCESSOR = "feature_extractor/preprocessor_config.json"
SCHEDULER = "scheduler/scheduler_config.json"
# What the bases' scheduler_config.json hold, and what SDXL's and Turbo's hold besides.
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
         "num_train_timesteps": 1000, "trained_betas": None, "clip_sample": False,
         "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1}  # fmt: skip
EULER = {"interpolation_type": "linear", "prediction_type": "epsilon", "sample_max_value": 1.0,
         "use_karras_sigmas": False}  # fmt: skip
PNDM_OF_SD15 = BETAS | {"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0"}
EULER_OF_SDXL = BETAS | EULER | {
    "_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.19.0.dev0",
    "timestep_spacing": "leading",
}  # fmt: skip
EULER_OF_TURBO = BETAS | EULER | {
    "_class_name": "EulerAncestralDiscreteScheduler", "_diffusers_version": "0.24.0.dev0",
    "timestep_spacing": "trailing",
}  # fmt: skip


def hub(folder: Path) -> dict[str, Files]:
    """What the suites on SD1.5 and SDXL take from the hub but for evaluators."""
    found = sd15(folder)
    for repo, files in sdxl(folder).items():
        found[repo] = found.get(repo, {}) | files
    return found


def sd15(folder: Path) -> dict[str, Files]:
    """Those on SD1.5."""
    pipe = StableDiffusionPipeline.from_pretrained(make_sd15(folder / "sd15"), safety_checker=None)
    base = _base(pipe, folder / "sd15-both", NAMED | CHECKER, PNDM_OF_SD15)
    base[PREPROCESSOR] = b"{}"
    base["safety_checker/model.safetensors"] = base["v1-5-pruned.safetensors"] = b"large"
    loras = {
        "latent-consistency/lcm-lora-sdv1-5": {"pytorch_lora_weights.safetensors": _kohya},
        "h1t/TCD-SD15-LoRA": {"pytorch_lora_weights.safetensors": _peft},
        "ByteDance/Hyper-SD": {
            f"Hyper-SD15-{n}-lora.safetensors": _kohya
            for n in ("1step", "2steps", "4steps", "8steps")
        },
    }
    return {SD15: base, **_of_each(pipe.unet, loras)}


def sdxl(folder: Path) -> dict[str, Files]:
    """Those on SDXL."""
    pipe = StableDiffusionXLPipeline.from_pretrained(
        make_sdxl(folder / "sdxl"), add_watermarker=False
    )
    whole = {name: value.clone() for name, value in pipe.unet.state_dict().items()}
    lightning = "sdxl_lightning"
    loras = {
        "latent-consistency/lcm-lora-sdxl": {"pytorch_lora_weights.safetensors": _kohya},
        "TheLastBen/Papercut_SDXL": {"papercut.safetensors": _kohya},
        "h1t/TCD-SDXL-LoRA": {"pytorch_lora_weights.safetensors": _peft},
        "ByteDance/SDXL-Lightning": {
            f"{lightning}_{n}step_lora.safetensors": _kohya for n in (2, 4, 8)
        },
        "ByteDance/Hyper-SD": {
            f"Hyper-SDXL-{n}-lora.safetensors": _kohya
            for n in ("1step", "2steps", "4steps", "8steps", "8steps-CFG", "12steps-CFG")
        },
        "tianweiy/DMD2": {"dmd2_sdxl_4step_lora_fp16.safetensors": _peft},
        "wangfuyun/PCM_Weights": {
            f"sdxl/pcm_sdxl_smallcfg_{n}step_converted.safetensors": _kohya for n in (2, 4, 8)
        },
    }
    found = {
        SDXL: _base(pipe, folder / "sdxl-both", {}, EULER_OF_SDXL),
        TURBO: _turbo(copy.deepcopy(pipe), folder / "turbo"),
        **_of_each(pipe.unet, loras),
    }
    for seed, name in enumerate(("1step_unet_x0", "2step_unet", "4step_unet", "8step_unet")):
        unet = save(_moved(whole, seed))
        found["ByteDance/SDXL-Lightning"][f"{lightning}_{name}.safetensors"] = unet
    found["ByteDance/Hyper-SD"]["Hyper-SDXL-1step-Unet.safetensors"] = save(_moved(whole, 4))
    for steps in (1, 4):
        name = f"dmd2_sdxl_{steps}step_unet_fp16.bin"
        found["tianweiy/DMD2"][name] = _pickled(_moved(whole, 4 + steps), folder / name)
    return found


def _turbo(pipe: Any, folder: Path) -> Files:
    pipe.unet.load_state_dict(_moved(pipe.unet.state_dict(), 9))
    return _base(pipe, folder, NAMED, EULER_OF_TURBO) | {PREPROCESSOR: b"{}"}


def _base(pipe: Any, folder: Path, named: dict[str, list[str]], scheduler: dict[str, Any]) -> Files:
    """A pipeline in single and half precision, whose index names parts that nobody needs."""
    pipe.save_pretrained(folder)
    half = copy.deepcopy(pipe).to(dtype=torch.float16)
    half.save_pretrained(folder, variant="fp16")
    (folder / SCHEDULER).write_text(json.dumps(scheduler))
    index = json.loads((folder / "model_index.json").read_text())
    index |= named | {"scheduler": ["diffusers", scheduler["_class_name"]]}
    (folder / "model_index.json").write_text(json.dumps(index))
    for path in folder.glob("tokenizer_2/*"):  # the hub's client fetches equal files once
        path.write_bytes(path.read_bytes() + b"\n")
    return {"README.md": b"-", **files_of(folder)}


def files_of(folder: Path) -> Files:
    """Every file of a folder by its path in there."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _of_each(
    unet: Any, layouts: dict[str, dict[str, Callable[[State], State]]]
) -> dict[str, Files]:
    """A LoRA of the UNet of its own for each file, in the file's layout."""
    found: dict[str, Files] = {}
    seed = 0
    for repo, files in layouts.items():
        found[repo] = {"README.md": b"-"}
        for name, layout in files.items():
            seed += 1
            state = models.random_lora(unet, seed=seed)
            unet.delete_adapters("default")
            named = {f"unet.{key}": value.detach().contiguous() for key, value in state.items()}
            found[repo][name] = save(layout(named))
    return found


def _kohya(named: State) -> State:
    return {k: v.contiguous() for k, v in convert_state_dict_to_kohya(dict(named)).items()}


def _peft(named: State) -> State:
    return named


def _moved(whole: State, seed: int) -> State:
    """Another UNet of the same shapes, in half precision."""
    rng = torch.Generator().manual_seed(seed)
    return {
        name: (value + 0.02 * torch.randn(value.shape, generator=rng)).half()
        for name, value in whole.items()
    }


def _pickled(state: State, path: Path) -> bytes:
    torch.save(state, path)
    return path.read_bytes()
