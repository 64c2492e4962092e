"""Small random pipelines of today's families, in folders as diffusers saves them.

Pictures of 64 px, latents of 8 places a side; every kind of part of the real ones occurs, with the
scheduler that each is published with. Tokenizers know letters, so no two prompts are alike.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import FlowMatchEulerDiscreteScheduler

from tests.conformance.goldens import qwen_words
from tests.hypersd.gaussians import FLOW
from tests.hypersd.real_models import make_sd3, make_tokenizer
from tests.support import models

WIDTH = 16  # of text encoders
LAYERS = 28  # of FLUX.2 klein's text encoder, which gives the states after layers 9, 18 and 27
HEAD: dict[str, Any] = {"attention_head_dim": 16, "num_attention_heads": 2}
AXES = (4, 6, 6)  # of a head, for time, height and width
QWEN: dict[str, Any] = {
    "hidden_size": WIDTH, "intermediate_size": 32, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip
DYNAMIC = {"base_image_seq_len": 256, "base_shift": 0.5, "max_shift": 1.15,
           "max_image_seq_len": 4096, "shift": 3.0, "use_dynamic_shifting": True}  # fmt: skip
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_flux(folder: Path, *, guided: bool = True, **saving: Any) -> Path:
    """FLUX.1: dev, which takes the guidance as an input, or schnell, which takes none."""
    return _saved(folder, lambda: _flux(folder, guided), **saving)


def _flux(folder: Path, guided: bool) -> Any:
    words = make_tokenizer(folder / "words")
    schedule = DYNAMIC if guided else {**DYNAMIC, "shift": 1.0, "use_dynamic_shifting": False}
    t5, t5_words = _t5()
    return diffusers.FluxPipeline(
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1, in_channels=64, num_layers=1, num_single_layers=2, **HEAD,
            joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, guidance_embeds=guided,
            axes_dims_rope=AXES,
        ),
        vae=_vae(0.3611, 0.1159),
        text_encoder=models.text_encoder(transformers.CLIPTextModel, words, WIDTH),
        text_encoder_2=t5,
        tokenizer=words,
        tokenizer_2=t5_words,
        scheduler=FlowMatchEulerDiscreteScheduler(**schedule),
    )  # fmt: skip


def make_sd35(folder: Path) -> Path:
    """SD3.5: as SD3, with other weights."""
    make_sd3(folder)
    pipe = diffusers.StableDiffusion3Pipeline.from_pretrained(folder)
    rng = torch.Generator().manual_seed(5)
    for weight in pipe.transformer.parameters():
        weight.data += 0.02 * torch.randn(weight.shape, generator=rng)
    pipe.save_pretrained(folder)
    return folder


def make_klein(folder: Path, **saving: Any) -> Path:
    """FLUX.2 klein, distilled: it ignores guidance."""
    return _saved(folder, _klein, **saving)


def _klein() -> Any:
    words = _qwen_words()
    config = transformers.Qwen3Config(
        **QWEN, num_hidden_layers=LAYERS, vocab_size=len(words), max_position_embeddings=1024
    )
    return diffusers.Flux2KleinPipeline(
        transformer=diffusers.Flux2Transformer2DModel(
            patch_size=1, in_channels=128, num_layers=1, num_single_layers=1, **HEAD,
            joint_attention_dim=3 * WIDTH, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
        ),
        vae=diffusers.AutoencoderKLFlux2(
            block_out_channels=(8,) * 4, layers_per_block=1, latent_channels=32, norm_num_groups=4,
            sample_size=64,
        ),
        text_encoder=transformers.Qwen3ForCausalLM(config).eval(),
        tokenizer=words,
        scheduler=FlowMatchEulerDiscreteScheduler(**DYNAMIC),
        is_distilled=True,
    )  # fmt: skip


def make_z_image(folder: Path, **saving: Any) -> Path:
    """Z-Image-Turbo."""
    return _saved(folder, _z_image, **saving)


def _z_image() -> Any:
    words = _qwen_words()
    config = transformers.Qwen3Config(
        **QWEN, num_hidden_layers=3, vocab_size=len(words), max_position_embeddings=1024
    )
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=16, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
        cap_feat_dim=WIDTH, axes_dims=[4, 6, 6], axes_lens=[1024, 64, 64],
    )  # fmt: skip
    for token in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.normal_(token, std=0.02)  # as made, whatever memory held
    return diffusers.ZImagePipeline(
        transformer=transformer,
        vae=_vae(0.3611, 0.1159),
        text_encoder=transformers.Qwen3Model(config).eval(),
        tokenizer=words,
        scheduler=FlowMatchEulerDiscreteScheduler(**FLOW),
    )


def make_qwen_image(folder: Path, **saving: Any) -> Path:
    """Qwen-Image: a VAE of videos, which whitens each channel."""
    return _saved(folder, _qwen_image, **saving)


def _qwen_image() -> Any:
    words = _qwen_words()
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            **{name: value for name, value in QWEN.items() if name != "head_dim"},
            "num_hidden_layers": 2, "vocab_size": len(words), "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2],
                                "rope_theta": 10_000.0},
        },
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
                       "out_hidden_size": WIDTH},
        **qwen_words.marks(),
    )  # fmt: skip
    rng = torch.Generator().manual_seed(1)
    return diffusers.QwenImagePipeline(
        transformer=diffusers.QwenImageTransformer2DModel(
            in_channels=64, out_channels=16, num_layers=2, **HEAD, joint_attention_dim=WIDTH,
            guidance_embeds=False, axes_dims_rope=AXES,
        ),
        vae=diffusers.AutoencoderKLQwenImage(
            base_dim=8, z_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=torch.randn(16, generator=rng).tolist(),
            latents_std=(1 + torch.rand(16, generator=rng)).tolist(),
        ),
        text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(config).eval(),
        tokenizer=words,
        scheduler=FlowMatchEulerDiscreteScheduler(
            **{**DYNAMIC, "max_shift": 0.9, "max_image_seq_len": 8192, "shift": 1.0},
            shift_terminal=0.02, time_shift_type="exponential",
        ),
    )  # fmt: skip


def make_sana_sprint(folder: Path, **saving: Any) -> Path:
    """SANA-Sprint: TrigFlow, a deep-compression autoencoder, the guidance as an input."""
    return _saved(folder, _sana_sprint, **saving)


def _sana_sprint() -> Any:
    letters = ["<pad>", "<eos>", "<bos>", "<unk>", *sorted(string.printable), "▁"]
    words = transformers.GemmaTokenizer(
        vocab={letter: i for i, letter in enumerate(letters)}, merges=[]
    )
    config = transformers.Gemma2Config(
        **QWEN, num_hidden_layers=1, vocab_size=len(words), max_position_embeddings=8192,
        attn_implementation="eager",
    )  # fmt: skip
    return diffusers.SanaSprintPipeline(
        transformer=diffusers.SanaTransformer2DModel(
            patch_size=1, in_channels=8, out_channels=8, num_layers=1, num_attention_heads=2,
            attention_head_dim=8, num_cross_attention_heads=2, cross_attention_head_dim=8,
            cross_attention_dim=WIDTH, caption_channels=WIDTH, sample_size=32,
            qk_norm="rms_norm_across_heads", guidance_embeds=True,
        ),
        vae=diffusers.AutoencoderDC(
            latent_channels=8, attention_head_dim=4, scaling_factor=0.41407,
            encoder_block_types=("ResBlock",) * 3 + ("EfficientViTBlock",),
            decoder_block_types=("ResBlock",) * 3 + ("EfficientViTBlock",),
            encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
            encoder_layers_per_block=(1,) * 4, decoder_layers_per_block=(1,) * 4,
            encoder_qkv_multiscales=((), (), (), (5,)), decoder_qkv_multiscales=((), (), (), (5,)),
        ),
        text_encoder=transformers.Gemma2Model(config).eval(),
        tokenizer=words,
        scheduler=diffusers.SCMScheduler(),
    )  # fmt: skip


def make_cogview4(folder: Path, **saving: Any) -> Path:
    """CogView4, whose text encoder and network read the padding of shorter prompts."""
    return _saved(folder, _cogview4, **saving)


def _cogview4() -> Any:
    words = _qwen_words()
    words.padding_side = "left"
    config = transformers.GlmConfig(
        **QWEN, num_hidden_layers=2, vocab_size=len(words), max_position_embeddings=1024,
        pad_token_id=0,
    )  # fmt: skip
    return diffusers.CogView4Pipeline(
        transformer=diffusers.CogView4Transformer2DModel(
            in_channels=16, out_channels=16, num_layers=2, **HEAD, text_embed_dim=WIDTH,
            time_embed_dim=16, condition_dim=4, rope_axes_dim=(16, 16), sample_size=8,
        ),
        vae=_vae(1.0, 0.0),
        text_encoder=transformers.GlmModel(config).eval(),
        tokenizer=words,
        scheduler=FlowMatchEulerDiscreteScheduler(
            base_shift=0.25, max_shift=0.75, base_image_seq_len=256, use_dynamic_shifting=True,
            time_shift_type="linear",
        ),
    )  # fmt: skip


def _saved(folder: Path, make: Callable[[], Any], **saving: Any) -> Path:
    """saving: of `save_pretrained`, as max_shard_size."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe = make()
    for weight in pipe.transformer.parameters():  # as made, all prompts give nearly one picture
        weight.data.mul_(2)
    pipe.save_pretrained(folder, **saving)
    return folder


def _vae(scaling: float, shift: float) -> Any:
    return models.vae(8, 4, 16, scaling_factor=scaling, shift_factor=shift,
                      use_quant_conv=False, use_post_quant_conv=False)  # fmt: skip


def _t5() -> tuple[Any, Any]:
    """A T5 of letters: the encoder and its tokenizer."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_letters]
    words = transformers.T5Tokenizer(vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)])
    config = transformers.T5Config(
        vocab_size=len(words), d_model=WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False,
    )  # fmt: skip
    return transformers.T5EncoderModel(config).eval(), words


def _qwen_words() -> Any:
    """Qwen's tokenizer, of bytes, with a template for a conversation."""
    words = transformers.Qwen2Tokenizer(
        tokenizer_object=qwen_words.tokenizer(), model_max_length=4096
    )
    words.chat_template = CHAT
    return words
