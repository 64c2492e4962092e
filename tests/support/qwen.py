"""Small random models of Qwen's real classes, in folders as they are published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    Qwen2VLConfig,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from tests.conformance import seeded
from tests.conformance.goldens import make, qwen_words

ROPE = {"rope_type": "default", "mrope_section": make.SECTIONS, "rope_theta": 10_000.0}


def make_judge(folder: Path, seed: int = 0) -> Path:
    """A Qwen3-VL whose answers are not all alike."""
    words = qwen_words.tokenizer().get_vocab_size()
    config = Qwen3VLConfig(
        text_config={**make.TEXT, "head_dim": 8, "vocab_size": words, "rope_parameters": ROPE},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 16,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        **qwen_words.marks(),
        tie_word_embeddings=True,
    )
    _files(folder, patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config)
        for weight in model.parameters():  # as made, all logits are nearly alike
            weight.data.mul_(4)
        model.save_pretrained(folder)
    return folder


def make_hpsv3(folder: Path, shapes: Mapping[str, Sequence[int]]) -> Path:
    """`HPSv3.safetensors` by the names and shapes that its package has, beside its base's files."""
    config = Qwen2VLConfig(
        text_config={**make.TEXT, "vocab_size": 512, "rope_parameters": ROPE},
        vision_config=make.VISION,
        **qwen_words.marks(),
    )
    _files(folder, patch_size=14)
    config.save_pretrained(folder)
    empty = {name: torch.empty(*shape) for name, shape in shapes.items()}
    save_file(seeded.state(empty), folder / "HPSv3.safetensors")
    return folder


def _files(folder: Path, **processor: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    qwen_words.tokenizer().save(str(folder / "tokenizer.json"))
    Qwen2VLImageProcessor(
        size={"shortest_edge": 1024, "longest_edge": 1 << 20}, **processor
    ).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 4096}))
