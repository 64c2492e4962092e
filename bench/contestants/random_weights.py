"""Networks of a real shape with random weights: for seconds and memory, never for quality.

`sdxl` and `sd15` are the shapes of SDXL base 1.0 and of Stable Diffusion 1.5, with CLIP's published
vocabulary; any pipeline folder on this machine can be taken for a shape as well.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hypersd import bases
from hypersd.bases import UNETS, Family

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
         "steps_offset": 1, "clip_sample": False, "set_alpha_to_one": False,
         "timestep_spacing": "leading"}  # fmt: skip


def pipeline(shape: str, precision: torch.dtype, device: torch.device, *, own: bool = False) -> Any:
    """A pipeline of random weights. shape: a family's name, or a pipeline folder.  own: of any
    class, to draw by its own call."""
    import diffusers

    if own and shape not in UNETS:
        found = bases.load_any(Path(shape), torch.float32, None)
        for name, part in found.components.items():
            if isinstance(part, nn.Module):
                fill_randomly(part.eval(), name, precision, device)
        return found
    if shape in UNETS:
        parts: dict[str, Any] = _published(shape)
        family: type[Family] = UNETS[shape]
    else:
        whole = bases.load(Path(shape), torch.float32, None, "unet")
        family, parts = type(bases.of(whole)), dict(whole.components)
    parts |= family.loaded_with
    for name, network in parts.items():
        if isinstance(network, nn.Module):
            fill_randomly(network.eval(), name, precision, device)
    return getattr(diffusers, family.pipeline)(**parts)


def _published(family: str) -> dict[str, Any]:
    """The parts of a family's published pipeline, its networks without memory."""
    import diffusers

    networks, vocabulary = UNETS[family].networks(), _vocabulary()
    encoders = [name for name in networks if name.startswith("text_encoder")]
    tokenizers = {name.replace("text_encoder", "tokenizer"): vocabulary for name in encoders}
    return {**networks, **tokenizers, "scheduler": diffusers.DDIMScheduler(**NOISE)}


def fill_randomly(
    network: nn.Module, name: str, precision: torch.dtype, device: torch.device
) -> None:
    """Give every weight a random value that keeps the size of activations; norms 1, biases 0. A
    weight's values depend on its name alone."""
    from accelerate.utils import set_module_tensor_to_device

    for key, parameter in list(network.named_parameters()):
        shape = parameter.shape
        if parameter.ndim > 1:
            rng = torch.Generator(device).manual_seed(zlib.crc32(f"{name}.{key}".encode()))
            value = torch.randn(shape, generator=rng, device=device, dtype=precision)
            value *= (shape[0] / parameter.numel()) ** 0.5
        else:
            value = torch.full(shape, float(key.endswith("weight")), device=device)
        set_module_tensor_to_device(network, key, device, value=value, dtype=precision)


def _vocabulary() -> Any:
    """CLIP's tokenizer, from the vocabulary that open_clip carries."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    carried = SimpleTokenizer()
    ends = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {ends.get(word, word): number for word, number in carried.encoder.items()}
    merges = [tuple(pair) for pair in carried.bpe_ranks]
    return CLIPTokenizer(vocabulary, merges, model_max_length=77)
