"""Tiny random models of the real classes: an SDXL pipeline, and one of each key layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from tests.support.judges import Judges

SIZE = 64


def _encoder(kind: Any, tokenizer: Any, width: int) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config).eval()


def _unet() -> Any:
    """SDXL's kind: text and time ids in the time embedding, linear projections, no attention in the
    first block. Pooled width 24 and six time ids of 8."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        cross_attention_dim=16 + 24,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24 + 6 * 8,
    )


@pytest.fixture(scope="session")
def tiny_sdxl(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StableDiffusionXLPipeline folder with random weights: 64 px, latents 4x16x16, the scheduler
    configuration of SDXL base."""
    folder = tmp_path_factory.mktemp("models") / "tiny_sdxl"
    tokenizer = CLIPTokenizer.from_pretrained(tiny_base / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        parts = {
            "unet": _unet(),
            "vae": AutoencoderKL(
                block_out_channels=(8, 8, 8),
                down_block_types=("DownEncoderBlock2D",) * 3,
                up_block_types=("UpDecoderBlock2D",) * 3,
                norm_num_groups=4,
                sample_size=SIZE,
                scaling_factor=0.13025,
                force_upcast=True,
            ),
            "text_encoder": _encoder(CLIPTextModel, tokenizer, 16),
            "text_encoder_2": _encoder(CLIPTextModelWithProjection, tokenizer, 24),
        }
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing="leading",
    )
    # What the published scheduler_config.json holds besides, and DDIM reads.
    scheduler.register_to_config(clip_sample=False, set_alpha_to_one=False, skip_prk_steps=True)
    pipeline = StableDiffusionXLPipeline(
        **parts,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=scheduler,
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def random_lora(unet: Any, seed: int) -> dict[str, torch.Tensor]:
    """A LoRA of rank 4 on all attention, in PEFT's keys."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        targets = ["to_q", "to_k", "to_v", "to_out.0"]
        unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=targets))
        for name, parameter in unet.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    state: dict[str, torch.Tensor] = get_peft_model_state_dict(unet)
    return state


def _text_lora() -> dict[str, torch.Tensor]:
    """A LoRA of rank 4 of the first text encoder (width 16), in PEFT's keys."""
    rng = torch.Generator().manual_seed(7)
    shapes = {"lora_A": (4, 16), "lora_B": (16, 4)}
    return {
        f"text_encoder.text_model.encoder.layers.{layer}.self_attn.{part}.{half}.weight":
            torch.randn(shape, generator=rng) * 0.2
        for layer in range(2) for part in ("q_proj", "v_proj") for half, shape in shapes.items()
    }  # fmt: skip


@pytest.fixture(scope="session")
def sdxl_files(tiny_sdxl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`peft`, `diffusers` and `kohya.safetensors`: one LoRA in three key layouts.
    `text.safetensors`: it and one of the first text encoder.  `unet.safetensors`: another UNet's
    weights, `unet.bin`: these as a pickle."""
    from diffusers.utils import convert_state_dict_to_kohya
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("files")
    unet = UNet2DConditionModel.from_pretrained(tiny_sdxl, subfolder="unet")
    state = random_lora(unet, seed=4)
    named = {f"unet.{key}": value.contiguous() for key, value in state.items()}
    save_file(named, folder / "peft.safetensors")
    save_file(named | _text_lora(), folder / "text.safetensors")
    old = {key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"): v
           for key, v in named.items()}  # fmt: skip
    save_file(old, folder / "diffusers.safetensors")
    kohya = convert_state_dict_to_kohya(named)
    save_file({k: v.contiguous() for k, v in kohya.items()}, folder / "kohya.safetensors")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        full = _unet().state_dict()
    save_file(full, folder / "unet.safetensors")
    torch.save(full, folder / "unet.bin")
    return folder


@pytest.fixture(scope="session")
def sd15_lora(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA file of the tiny SD1.5 base."""
    folder = tmp_path_factory.mktemp("sd15")
    unet = UNet2DConditionModel.from_pretrained(tiny_base, subfolder="unet")
    StableDiffusionPipeline.save_lora_weights(folder, random_lora(unet, seed=6))
    return folder / "pytorch_lora_weights.safetensors"


@pytest.fixture
def judged(judges: Judges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in which every metric is a cheap one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
