"""A whole UNet's file -> the network: its configuration's, with exactly these weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from bench.errors import UsageError, brief
from hypersd import tensor_files, unet_files, unet_inputs
from hypersd.whole_files import written_whole


def load(config: Path, weights: Path) -> Any:
    """A UNet on the CPU, in its file's precision, mapped into memory rather than read.

    Raises UsageError for a configuration that makes no UNet, FileError for another's weights.
    """
    import diffusers
    from accelerate import init_empty_weights

    kind: Any = diffusers.UNet2DConditionModel
    try:
        with init_empty_weights():
            unet = kind.from_config(unet_inputs.read(config))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{config}: makes no UNet ({brief(error, 160)})") from None
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
