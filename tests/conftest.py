"""Fixtures of all tests: a random base model and a random LoRA, small enough for any machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
ASSETS = tempfile.TemporaryDirectory()  # where what is recorded of the hub's files is kept
os.environ["HF_ASSETS_CACHE"] = ASSETS.name

TEXT_LENGTH = 24

pytest_plugins = ["tests.support.tiny_runs"]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The whole suite by as many processes as there are cores, at most four; a part of it, slow
    tests and those in a browser by one, as they may measure time or memory."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    plain = "not slow" in config.option.markexpr
    return min(4, os.cpu_count() or 1) if whole and plain else 0


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """One thread: tests share a machine, and tiny tensors gain nothing from a second."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StableDiffusionPipeline folder with random weights: 64 px, latents 4x16x16."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline
    from diffusers import UNet2DConditionModel as UNet
    from transformers import CLIPTextModel

    from tests.support import models

    folder = tmp_path_factory.mktemp("models") / "tiny_base"
    tokenizer = _tokenizer(tmp_path_factory.mktemp("tokenizer"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet(
            sample_size=16,
            block_out_channels=(32, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=8,
            attention_head_dim=8,
            cross_attention_dim=32,
        )
        vae = models.vae(16, 3, scaling_factor=0.5)
        text_encoder = models.text_encoder(CLIPTextModel, tokenizer, 32, layers=1, heads=4)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            timestep_spacing="trailing",
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_lora(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pytorch_lora_weights.safetensors: rank 4, random, of the tiny base."""
    from diffusers import StableDiffusionPipeline
    from diffusers import UNet2DConditionModel as UNet

    from tests.support.models import random_lora

    folder = tmp_path_factory.mktemp("models") / "tiny_lora"
    unet = UNet.from_pretrained(tiny_base, subfolder="unet")
    StableDiffusionPipeline.save_lora_weights(folder, random_lora(unet, seed=1, std=0.3))
    return folder


def _tokenizer(folder: Path) -> Any:
    """A CLIPTokenizer whose vocabulary was learned from 2,000 captions of the world."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    from hypersd.shapes.captions import caption
    from hypersd.shapes.scenes import sample_scene

    bpe = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        show_progress=False,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        end_of_word_suffix="</w>",
    )
    texts = (caption(sample_scene("train", index)) for index in range(500))
    bpe.train_from_iterator(texts, trainer)
    bpe.model.save(str(folder))
    vocab, merges = str(folder / "vocab.json"), str(folder / "merges.txt")
    return CLIPTokenizer(vocab, merges, model_max_length=TEXT_LENGTH)
