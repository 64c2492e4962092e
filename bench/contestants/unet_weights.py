"""A whole UNet's file -> the network of its configuration with exactly these weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from hypersd import tensor_files, unet_files
from hypersd.whole_files import written_whole


def load(config: Path, weights: Path) -> Any:
    """A UNet on the CPU, in its file's precision, mapped into memory rather than read.

    Raises UsageError for a configuration that makes no UNet, FileError for another's weights.
    """
    unet = unet_files.empty(config)
    held = unet_files.weights_for(unet, safe(weights), config)
    unet.load_state_dict(held, assign=True)
    return unet.eval()


def safe(weights: Path) -> Path:
    """The file itself, or what a pickle holds as safetensors: read once, tensors only.

    The copy is kept in the hub's folder for derived files ($HF_HOME/assets).
    """
    if weights.suffix == ".safetensors":
        return weights
    from huggingface_hub import cached_assets_path
    from safetensors.torch import save_file

    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cached_assets_path("few-step-bench", "converted", sha256)
    target = folder / "diffusion_pytorch_model.safetensors"
    if not target.is_file():
        held, _ = tensor_files.read(weights)
        with written_whole(target) as beside:
            save_file({k: v.contiguous().clone() for k, v in held.items()}, beside)
    return target
