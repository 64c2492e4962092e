"""Weights on disk -> a pipeline that is ready to sample. The base is loaded once per process.

A LoRA is merged into a fresh UNet (15 MB here), so that one contestant cannot leave a trace in
the next and its speed is that of the merged network.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from bench import identity
from bench.errors import UsageError
from bench.settings import Settings


def device_of(name: str) -> torch.device:
    """The device of "auto", "cpu", "cuda" or "mps". Raises UsageError where it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, ready in there.items() if ready), "cpu"))
    if not there.get(name, True):
        raise UsageError(f"device={name}: not on this machine; there is device=cpu")
    return torch.device(name)


@lru_cache(maxsize=2)
def base(folder: Path, device: torch.device) -> Any:
    """A StableDiffusionPipeline at fp32 without progress bars. Raises UsageError if damaged."""
    import diffusers

    quiet()
    kind: Any = diffusers.StableDiffusionPipeline
    pipeline = _loaded(folder, lambda: kind.from_pretrained(folder))
    return _ready(pipeline, device)


def _ready(pipeline: Any, device: torch.device) -> Any:
    """fp32 on the device, channels last: an eighth faster on CPU, a quarter in the VAE."""
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device=device, dtype=torch.float32)
    for network in (pipeline.unet, pipeline.vae):
        network.to(memory_format=torch.channels_last)
    return pipeline


def quiet() -> None:
    """No bars and hints of libraries between ours; what matters is checked here and raised."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    for logging in (of_diffusers, of_transformers):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def pipeline(settings: Settings, weights: Path | None, device: torch.device) -> Any:
    """The pipeline of a contestant.

    weights: the LoRA or UNet file where there is one (for a recipe: what it trained).
    Raises UsageError, one line, for files that are damaged or of another architecture.
    """
    folder = identity.base_folder(f"contestants.{settings.key}", settings)
    whole = base(folder, device)
    if weights is None:
        return whole
    from safetensors.torch import load_file

    state = _loaded(weights, lambda: load_file(weights))
    is_lora = any("lora" in key for key in state)
    unet = _fresh_unet(folder / "unet" if is_lora else _with_config(weights.parent, folder))
    own = type(whole)(**{**whole.components, "unet": unet}, requires_safety_checker=False)
    if is_lora:
        _loaded(weights, lambda: _merge(own, weights, settings.lora_scale))
    else:
        _loaded(weights, lambda: unet.load_state_dict(state))
    return _ready(own, device)


def _with_config(folder: Path, base: Path) -> Path:
    """Where a UNet's config.json is: beside its weights, or the base's."""
    return folder if (folder / "config.json").is_file() else base / "unet"


def _fresh_unet(folder: Path) -> Any:
    import diffusers

    kind: Any = diffusers.UNet2DConditionModel
    return _loaded(folder, lambda: kind.from_pretrained(folder).float())


def _merge(pipeline: Any, weights: Path, scale: float) -> None:
    """Add a LoRA to the UNet's own weights. Raises ValueError where it does not fit."""
    before = {name: value.clone() for name, value in pipeline.unet.state_dict().items()}
    # By file, not by its tensors: the file's metadata may hold an alpha other than the rank.
    pipeline.load_lora_weights(weights.parent, weight_name=weights.name)
    if not getattr(pipeline.unet, "peft_config", None):
        raise ValueError("no LoRA of this UNet")
    pipeline.fuse_lora(components=["unet"], lora_scale=scale)
    pipeline.unload_lora_weights()
    after = pipeline.unet.state_dict()
    if scale and all(torch.equal(before[name], after[name]) for name in before):
        raise ValueError("the LoRA changes no weight of this UNet")


def _loaded(path: Path, load: Any) -> Any:
    """What `load` gives; any error of a library as one line that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return load()
    except Exception as error:  # libraries raise many kinds for a bad file
        words = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: cannot be loaded ({words[:160]})") from None
