"""Small random networks of the classes and key names of published rewards and segmenters."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SwinConfig,
)

from tests.conformance import seeded
from tests.conformance.goldens import make
from tests.hypersd.real_models import LENGTH, make_tokenizer

CONFORMANCE = Path(__file__).parents[1] / "conformance"

GOLDEN = json.loads((CONFORMANCE / "goldens" / "image_reward.json").read_text())["image_reward"]
WIDTH = 16


def make_clip(folder: Path) -> Path:
    """A CLIPModel folder with its tokenizer: 32 px, embeddings of 16."""
    tokenizer = make_tokenizer(folder / "words")
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    config = CLIPConfig(
        text_config=tower | ids | {"vocab_size": len(tokenizer), "max_position_embeddings": LENGTH,
                                   "pad_token_id": tokenizer.pad_token_id},
        vision_config=tower | {"image_size": 32, "patch_size": 8}, projection_dim=WIDTH,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPModel(config)
        for parameter in model.parameters():
            parameter.data.mul_(3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def laion_layers() -> nn.Sequential:
    """LAION's predictor v2, for embeddings of 16: linear layers and dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Linear(WIDTH, 8), nn.Dropout(0.2), nn.Linear(8, 8), nn.Dropout(0.2), nn.Linear(8, 8),
            nn.Dropout(0.1), nn.Linear(8, 4), nn.Linear(4, 1),
        ).eval()  # fmt: skip


def make_laion(path: Path) -> Path:
    """The head's file as published: a pickle of `layers.<n>.weight|bias`."""
    torch.save({f"layers.{k}": v for k, v in laion_layers().state_dict().items()}, path)
    return path


def make_image_reward(folder: Path) -> Path:
    """ImageReward.pt and vocab.txt, whose scores the package itself gave (`goldens`)."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: torch.tensor(seeded.array(name, tuple(shape)))
             for name, shape in GOLDEN["shapes"].items()
             if not name.endswith("position_ids")}  # fmt: skip
    torch.save(state, folder / "ImageReward.pt")
    (folder / "vocab.txt").write_text("\n".join(make.WORDS), encoding="utf-8")
    return folder


def make_segmenter(folder: Path, *, sure: bool = True) -> Path:
    """A Mask2Former folder of 64 px and 5 categories; with `sure`, one that always finds some."""
    swin = SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=swin, feature_size=32, mask_feature_size=32, hidden_dim=32, num_queries=4,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=32,
        encoder_feedforward_dim=32, num_labels=5, train_num_points=64,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = Mask2FormerForUniversalSegmentation(config)
    if sure:
        net.class_predictor.bias.data[3] = 6.0
    net.save_pretrained(folder)
    settings = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3],
                "size": {"shortest_edge": 64, "longest_edge": 128}}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
