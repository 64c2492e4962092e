"""Parts of small random models, of the classes and the shapes of SD1.5's and SDXL's."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel
from transformers import CLIPTextConfig

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
SIZES = 8  # width of one of SDXL's six sizes


def text_encoder(kind: Any, tokenizer: Any, width: int, layers: int = 2, heads: int = 2) -> Any:
    """A CLIP text model, or one with a projection, for a tokenizer's ids and length."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config).eval()


def vae(width: int, blocks: int, channels: int = 4, **config: Any) -> AutoencoderKL:
    """For pictures of 64 px, in latents of 64 / 2^(blocks - 1) places a side."""
    return AutoencoderKL(
        block_out_channels=(width,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        norm_num_groups=width // 2,
        latent_channels=channels,
        layers_per_block=1,
        sample_size=64,
        **config,
    )


def sdxl_unet(sample_size: int, first: int, second: int) -> UNet2DConditionModel:
    """SDXL's kind: text and sizes in the time embedding, linear projections, no attention in the
    first block.

    first, second: widths of the text encoders; the second one's is that of the pooled text.
    """
    return UNet2DConditionModel(
        sample_size=sample_size,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        cross_attention_dim=first + second,
        addition_embed_type="text_time",
        addition_time_embed_dim=SIZES,
        projection_class_embeddings_input_dim=second + 6 * SIZES,
    )


def sd3_transformer(sample_size: int, text: int, pooled: int) -> SD3Transformer2DModel:
    """SD3.5's kind: four blocks, one with a second attention, normalised queries and keys.

    text, pooled: widths of the states and of both pooled texts.
    """
    return SD3Transformer2DModel(
        sample_size=sample_size,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=4,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=text,
        caption_projection_dim=16,
        pooled_projection_dim=pooled,
        pos_embed_max_size=sample_size,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )


def random_lora(
    unet: Any, seed: int, std: float = 0.2, modules: list[str] | None = None
) -> dict[str, torch.Tensor]:
    """A LoRA of rank 4 on all attention or these modules, in PEFT's keys; the network has it
    afterwards."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=modules or ATTENTION))
        for name, parameter in unet.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=std)
    state: dict[str, torch.Tensor] = get_peft_model_state_dict(unet)
    return state
