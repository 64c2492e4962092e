"""Small random models of SD1.5's, SDXL's and SD3's classes and key names, and pictures for them.

64 px, latents 4x8x8; SDXL's has two text encoders, added sizes and pooled text, no adapter-sized
part is left out: every block type of the real UNets occurs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.hypersd.gaussians import FLOW, SCALED_LINEAR
from tests.support import models

WORDS = "a red blue green bird boat house tree on the water under sky with two small large"
LENGTH, WIDTH = 12, 16  # tokens, width of a text encoder


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """A token for every letter: ids that are the same every time, as a trained vocabulary's are
    not."""
    letters = sorted(set(WORDS) - {" "})
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    folder.mkdir(parents=True, exist_ok=True)
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    vocab.write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    merges.write_text("#version: 0.2\n")
    return CLIPTokenizer(str(vocab), str(merges), model_max_length=LENGTH)


def _parts(folder: Path) -> dict[str, Any]:
    tokenizer = make_tokenizer(folder / "words")
    vae = models.vae(8, 4)
    scheduler = DDIMScheduler(**SCALED_LINEAR, clip_sample=False, set_alpha_to_one=False)
    return {"vae": vae, "tokenizer": tokenizer, "scheduler": scheduler}


def make_sd15(folder: Path) -> Path:
    """A StableDiffusionPipeline folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = _parts(folder)
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=8, cross_attention_dim=WIDTH,
        )  # fmt: skip
        text = models.text_encoder(CLIPTextModel, parts["tokenizer"], WIDTH)
    StableDiffusionPipeline(
        **parts, unet=unet, text_encoder=text, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def make_sdxl(folder: Path) -> Path:
    """A StableDiffusionXLPipeline folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = _parts(folder)
        unet = models.sdxl_unet(8, WIDTH, WIDTH)
        first = models.text_encoder(CLIPTextModel, parts["tokenizer"], WIDTH)
        second = models.text_encoder(CLIPTextModelWithProjection, parts["tokenizer"], WIDTH)
    StableDiffusionXLPipeline(
        **parts, unet=unet, text_encoder=first, text_encoder_2=second,
        tokenizer_2=parts["tokenizer"], force_zeros_for_empty_prompt=True,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def make_sd3(folder: Path) -> Path:
    """A StableDiffusion3Pipeline folder: 16 channels with a shift, a T5 of letters beside both
    CLIPs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words, letters = make_tokenizer(folder / "words"), sorted(set(WORDS) - {" "})
        pieces = ["<pad>", "</s>", "<unk>", "▁", *letters]
        t5_words = T5Tokenizer(vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)])
        t5 = T5Config(
            vocab_size=len(t5_words), d_model=2 * WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
            feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False,
        )  # fmt: skip
        first, second = (
            models.text_encoder(CLIPTextModelWithProjection, words, WIDTH) for _ in range(2)
        )
        parts: dict[str, Any] = {
            "transformer": models.sd3_transformer(8, 2 * WIDTH, 2 * WIDTH).eval(),
            "vae": models.vae(8, 4, 16, scaling_factor=1.5305, shift_factor=0.0609,
                              use_quant_conv=False, use_post_quant_conv=False),
            "text_encoder_3": T5EncoderModel(t5).eval(),
        }  # fmt: skip
    StableDiffusion3Pipeline(
        **parts, scheduler=FlowMatchEulerDiscreteScheduler(**FLOW), tokenizer=words,
        tokenizer_2=words, tokenizer_3=t5_words, text_encoder=first, text_encoder_2=second,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def make_pictures(folder: Path, count: int = 6) -> Path:
    """Smooth random pictures of several sizes, as NAME.png with NAME.txt beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, words = np.random.default_rng(0), WORDS.split()
    for i in range(count):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        size = (96, 64) if i % 2 else (80, 100)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(" ".join(rng.choice(words, 4)))
    return folder
