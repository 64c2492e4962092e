"""Networks of a real shape with random weights: for seconds and memory, never for quality.

`sdxl` and `sd15` are the shapes of SDXL base 1.0 and of Stable Diffusion 1.5, with CLIP's published
vocabulary; any pipeline folder on this machine can be taken for a shape as well.
"""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import nn

FAMILIES = ("sd15", "sdxl")
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
         "steps_offset": 1, "clip_sample": False, "set_alpha_to_one": False,
         "timestep_spacing": "leading"}  # fmt: skip
_VAE = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4}  # fmt: skip
VAE: dict[str, dict[str, Any]] = {
    "sd15": {**_VAE, "scaling_factor": 0.18215, "sample_size": 512},
    "sdxl": {**_VAE, "scaling_factor": 0.13025, "sample_size": 1024, "force_upcast": True},
}
UNET: dict[str, dict[str, Any]] = {
    "sd15": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sdxl": {
        "sample_size": 128,
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": [1, 2, 10],
        "attention_head_dim": [5, 10, 20],
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
TEXT: dict[str, dict[str, Any]] = {  # OpenAI's CLIP ViT-L/14, and OpenCLIP's ViT-bigG/14
    "text_encoder": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                     "num_attention_heads": 12, "projection_dim": 768, "hidden_act": "quick_gelu"},
    "text_encoder_2": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
                       "num_attention_heads": 20, "projection_dim": 1280, "hidden_act": "gelu"},
}  # fmt: skip
ENDS = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}


def networks(family: str) -> dict[str, nn.Module]:
    """UNet, VAE and text encoders of a family, their weights still without memory ("meta")."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    names = list(kinds) if family == "sdxl" else ["text_encoder"]
    with init_empty_weights():
        made = {"unet": UNet2DConditionModel(**UNET[family]), "vae": AutoencoderKL(**VAE[family])}
        made |= {name: kinds[name](CLIPTextConfig(**TEXT[name], **ENDS)) for name in names}
    return made


def components(
    shape: str, precision: torch.dtype, device: torch.device
) -> tuple[str, dict[str, Any]]:
    """The class of a pipeline and its parts, their weights random.

    shape: a family's name, or a pipeline folder.
    """
    kind, parts = _family(shape) if shape in FAMILIES else _like(shape)
    for name, network in parts.items():
        if isinstance(network, nn.Module):
            fill_randomly(network.eval(), name, precision, device)
    if kind == "StableDiffusionPipeline":
        parts |= {"safety_checker": None, "feature_extractor": None}
    return kind, parts


def _family(family: str) -> tuple[str, dict[str, Any]]:
    import diffusers

    tokenizer = _vocabulary()
    parts: dict[str, Any] = {**networks(family), "tokenizer": tokenizer,
                             "scheduler": diffusers.DDIMScheduler(**NOISE)}  # fmt: skip
    if family == "sdxl":
        return "StableDiffusionXLPipeline", {**parts, "tokenizer_2": tokenizer}
    return "StableDiffusionPipeline", parts


def _like(folder: str) -> tuple[str, dict[str, Any]]:
    import diffusers

    whole = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    return type(whole).__name__, dict(whole.components)


def fill_randomly(
    network: nn.Module, name: str, precision: torch.dtype, device: torch.device
) -> None:
    """Give every weight a random value of the size that keeps activations as they are; norms 1,
    biases 0. The same for the same name, whatever else is filled."""
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
