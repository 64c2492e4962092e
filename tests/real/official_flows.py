"""Small models of FLUX, SD3, FLUX.2, Z-Image and Qwen-Image under the ids that suites name, as
`tests.real.official` has them of SD1.5 and SDXL.

Transformers and large text encoders are in shards, and checkpoints in one file lie beside the
folders, as published; nobody needs those.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
from safetensors.torch import save
from torch import nn, tensor
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from tests.hypersd.real_models import make_sd3
from tests.real.official import Files, State, files_of
from tests.support import families, models

DEV, SCHNELL = "black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-schnell"
KLEIN = "black-forest-labs/FLUX.2-klein-4B"
SD3 = "stabilityai/stable-diffusion-3-medium-diffusers"
SD35 = "stabilityai/stable-diffusion-3.5-large-turbo"
Z_IMAGE, QWEN_IMAGE = "Tongyi-MAI/Z-Image-Turbo", "Qwen/Qwen-Image"
HYPER_SD, TURBO_ALPHA = "ByteDance/Hyper-SD", "alimama-creative/FLUX.1-Turbo-Alpha"
TDM, LIGHTNING = "Luo-Yihong/TDM_sd3_lora", "lightx2v/Qwen-Image-Lightning"
SHARDS: dict[str, Any] = {"max_shard_size": "250KB"}
README = {"README.md": b"-"}


def hub(folder: Path) -> dict[str, Files]:
    """What the suites on these take from the hub but for evaluators."""
    made = {name: folder / name for name in ("dev", "schnell", "klein", "sd3", "sd35", "z", "qwen")}
    bases = {
        DEV: _files(families.make_flux(made["dev"], **SHARDS), "flux1-dev", "ae"),
        SCHNELL: _files(families.make_flux(made["schnell"], guided=False), "flux1-schnell", "ae"),
        KLEIN: _files(families.make_klein(made["klein"], **SHARDS), "flux-2-klein-4b"),
        SD3: _files(_with_halves(make_sd3(made["sd3"])), "sd3_medium"),
        SD35: _files(families.make_sd35(made["sd35"]), "sd3.5_large_turbo"),
        Z_IMAGE: _files(families.make_z_image(made["z"], **SHARDS)),
        QWEN_IMAGE: _files(families.make_qwen_image(made["qwen"], **SHARDS)),
    }
    flux, sd3, qwen = _lora_of(made["dev"]), _lora_of(made["sd3"]), _lora_of(made["qwen"])
    hyper_sd = {f"Hyper-FLUX.1-dev-{n}steps-lora.safetensors": flux(n) for n in (8, 16)}
    hyper_sd |= {f"Hyper-SD3-{n}steps-CFG-lora.safetensors": sd3(n) for n in (4, 8, 16)}
    lightning = {f"Qwen-Image-Lightning-{n}steps-V2.0.safetensors": qwen(n, _with_alphas)
                 for n in (4, 8)}  # fmt: skip
    return bases | {
        HYPER_SD: README | hyper_sd,
        TURBO_ALPHA: README | {"diffusion_pytorch_model.safetensors": flux(1)},
        TDM: README | {"pytorch_lora_weights.safetensors": sd3(2)},
        LIGHTNING: README | lightning,
    }


def _files(folder: Path, *single_files: str) -> Files:
    """A pipeline's files.  single_files: names of what lies beside them."""
    for path in folder.glob("*_2/*.json"):  # the hub's client fetches equal files once
        path.write_bytes(path.read_bytes() + b"\n")
    return README | files_of(folder) | {f"{name}.safetensors": b"large" for name in single_files}


def _with_halves(folder: Path) -> Path:
    """SD3's folder, its text encoders in half precision, too."""
    for name, kind in (("text_encoder", CLIPTextModelWithProjection),
                       ("text_encoder_2", CLIPTextModelWithProjection),
                       ("text_encoder_3", T5EncoderModel)):  # fmt: skip
        encoder = kind.from_pretrained(folder / name).half()
        encoder.save_pretrained(folder / name, variant="fp16")
    return folder


def _lora_of(folder: Path) -> Callable[..., bytes]:
    """(seed, form) -> a LoRA of a pipeline's transformer, on all linear layers of its blocks."""
    config = json.loads((folder / "transformer/config.json").read_bytes())
    network = getattr(diffusers, config["_class_name"]).from_config(config)
    layers = [name for name, module in network.named_modules()
              if isinstance(module, nn.Linear) and "blocks" in name]  # fmt: skip

    def made(seed: int, form: Callable[[State], State] = _prefixed) -> bytes:
        state = models.random_lora(network, seed, modules=layers)
        network.delete_adapters("default")
        whole = {key: value.contiguous() for key, value in form(state).items()}
        return bytes(save(whole))

    return made


def _prefixed(state: State) -> State:
    """PEFT's keys below "transformer.": Hyper-SD's, Turbo-Alpha's, and what diffusers writes."""
    return {f"transformer.{key}": value for key, value in state.items()}


def _with_alphas(state: State) -> State:
    """Down, up and alpha of each layer, without a prefix: Qwen-Image-Lightning's. Alphas are half
    of the rank."""
    named = {"lora_A": "lora_down", "lora_B": "lora_up"}
    found = {}
    for key, value in state.items():
        layer, factor, end = key.rsplit(".", 2)
        found[f"{layer}.{named[factor]}.{end}"] = value
        if factor == "lora_A":
            found[f"{layer}.alpha"] = tensor(value.shape[0] / 2)
    return found
