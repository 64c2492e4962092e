"""Small models of the real classes in the real key layouts, under the ids that suites name.

64 px; every file that the hub lists of a base is there, also those that nobody needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import convert_state_dict_to_kohya
from safetensors.torch import save
from transformers import CLIPConfig, CLIPModel

from tests.hypersd.real_models import make_sd15, make_sdxl
from tests.hypersd.real_rewards import make_image_reward
from tests.support import models

Files = dict[str, bytes]
State = dict[str, torch.Tensor]
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
NAMED = {"feature_extractor": ["transformers", "CLIPImageProcessor"]}
CHECKER = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}


def sd15(folder: Path) -> dict[str, Files]:
    """What the suites on SD1.5 take from the hub but for evaluators."""
    pipe = StableDiffusionPipeline.from_pretrained(make_sd15(folder / "sd15"), safety_checker=None)
    base = _base(pipe, folder / "sd15-both", NAMED | CHECKER)
    base["feature_extractor/preprocessor_config.json"] = b"{}"
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
    """The same of those on SDXL."""
    pipe = StableDiffusionXLPipeline.from_pretrained(
        make_sdxl(folder / "sdxl"), add_watermarker=False
    )
    whole = {name: value.clone() for name, value in pipe.unet.state_dict().items()}
    lightning = "sdxl_lightning"
    loras = {
        "latent-consistency/lcm-lora-sdxl": {"pytorch_lora_weights.safetensors": _kohya},
        "h1t/TCD-SDXL-LoRA": {"pytorch_lora_weights.safetensors": _peft},
        "ByteDance/SDXL-Lightning": {
            f"{lightning}_{n}step_lora.safetensors": _kohya for n in (2, 4, 8)
        },
        "ByteDance/Hyper-SD": {
            f"Hyper-SDXL-{n}-lora.safetensors": _kohya
            for n in ("1step", "2steps", "4steps", "8steps")
        },
        "tianweiy/DMD2": {"dmd2_sdxl_4step_lora_fp16.safetensors": _peft},
    }
    found = {SDXL: _base(pipe, folder / "sdxl-both", NAMED), **_of_each(pipe.unet, loras)}
    for name in ("1step_unet_x0", "2step_unet", "4step_unet", "8step_unet"):
        found["ByteDance/SDXL-Lightning"][f"{lightning}_{name}.safetensors"] = save(_moved(whole))
    found["ByteDance/Hyper-SD"]["Hyper-SDXL-1step-Unet.safetensors"] = save(_moved(whole))
    for steps in (1, 4):
        name = f"dmd2_sdxl_{steps}step_unet_fp16.bin"
        found["tianweiy/DMD2"][name] = _pickled(_moved(whole), folder / name)
    found["stabilityai/sdxl-turbo"] = found[SDXL]
    return found


def evaluators(folder: Path) -> dict[str, Files]:
    """Networks of `pick` and `image_reward`, whose sizes their files say."""
    made = make_image_reward(folder / "image_reward")
    return {
        "yuvalkirstain/PickScore_v1": _files(_pick(folder / "pick")),
        "THUDM/ImageReward": {"ImageReward.pt": (made / "ImageReward.pt").read_bytes()},
        "google-bert/bert-base-uncased": {"vocab.txt": (made / "vocab.txt").read_bytes()},
    }


def _base(pipe: Any, folder: Path, named: dict[str, list[str]]) -> Files:
    """A pipeline in single and half precision, whose index names parts that nobody needs."""
    pipe.save_pretrained(folder)
    pipe.to(dtype=torch.float16).save_pretrained(folder, variant="fp16")
    pipe.to(dtype=torch.float32)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | named))
    return {"README.md": b"-", **_files(folder)}


def _files(folder: Path) -> Files:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _of_each(
    unet: Any, layouts: dict[str, dict[str, Callable[[State], State]]]
) -> dict[str, Files]:
    """A LoRA of the UNet of its own for each file, in the file's layout."""
    found: dict[str, Files] = {}
    for number, (repo, files) in enumerate(layouts.items()):
        state = models.random_lora(unet, seed=number)
        unet.delete_adapters("default")
        named = {f"unet.{key}": value.detach().contiguous() for key, value in state.items()}
        found[repo] = {"README.md": b"-", **{n: save(layout(named)) for n, layout in files.items()}}
    return found


def _kohya(named: State) -> State:
    return {k: v.contiguous() for k, v in convert_state_dict_to_kohya(dict(named)).items()}


def _peft(named: State) -> State:
    return named


def _moved(whole: State) -> State:
    """Another UNet of the same shapes, in half precision."""
    rng = torch.Generator().manual_seed(len(whole))
    return {
        name: (value + 0.02 * torch.randn(value.shape, generator=rng)).half()
        for name, value in whole.items()
    }


def _pickled(state: State, path: Path) -> bytes:
    torch.save(state, path)
    return path.read_bytes()


def _pick(folder: Path) -> Path:
    shared = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
              "num_attention_heads": 2, "projection_dim": 16}  # fmt: skip
    config = CLIPConfig(
        text_config={**shared, "bos_token_id": 49406, "eos_token_id": 49407},
        vision_config={**shared, "image_size": 32, "patch_size": 16}, projection_dim=16,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    return folder
