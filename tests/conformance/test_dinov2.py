"""DINOv2 against timm's network with the same weights, behind clean-fid's resizing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from cleanfid.resize import make_resizer
from safetensors.torch import save_file
from torch import nn
from transformers import Dinov2Config

from bench.errors import UsageError
from bench.metrics.networks.base import loaded
from bench.metrics.networks.dinov2 import MEAN, SIDE, STD, Dinov2
from tests.conformance import seeded

WIDTH, LAYERS, HEADS = 64, 3, 4
IMAGES = seeded.pictures(6, 300, 260)


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """timm's `vit_large_patch14_dinov2`, smaller; each layer's scale is near 1, not 1e-5."""
    found = timm.create_model(
        "vit_large_patch14_dinov2", pretrained=False, num_classes=0, img_size=SIDE,
        embed_dim=WIDTH, depth=LAYERS, num_heads=HEADS,
    )  # fmt: skip
    state = seeded.state(found.state_dict())
    found.load_state_dict({n: v + 1 if n.endswith("gamma") else v for n, v in state.items()})
    network: nn.Module = found.eval()
    return network


@pytest.fixture(scope="module")
def tower(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Dinov2:
    folder = tmp_path_factory.mktemp("dinov2")
    Dinov2Config(hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                 image_size=SIDE, patch_size=14).save_pretrained(folder)  # fmt: skip
    state = in_published_names(theirs.state_dict())
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return Dinov2(str(folder))


def in_published_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As facebook/dinov2-large's file has them; transformers 5 calls its own layers otherwise."""
    made = {"embeddings.cls_token": state["cls_token"],
            "embeddings.mask_token": torch.zeros(1, WIDTH),
            "embeddings.position_embeddings": state["pos_embed"]}  # fmt: skip
    for part in ("weight", "bias"):
        made[f"embeddings.patch_embeddings.projection.{part}"] = state[f"patch_embed.proj.{part}"]
        made[f"layernorm.{part}"] = state[f"norm.{part}"]
        for n in range(LAYERS):
            new, old = f"encoder.layer.{n}", f"blocks.{n}"
            split = state[f"{old}.attn.qkv.{part}"].chunk(3)
            for name, value in zip(("query", "key", "value"), split, strict=True):
                made[f"{new}.attention.attention.{name}.{part}"] = value
            made[f"{new}.attention.output.dense.{part}"] = state[f"{old}.attn.proj.{part}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                made[f"{new}.{name}.{part}"] = state[f"{old}.{name}.{part}"]
    for n in range(LAYERS):
        for number in "12":
            scale = state[f"blocks.{n}.ls{number}.gamma"]
            made[f"encoder.layer.{n}.layer_scale{number}.lambda1"] = scale
    return {name: value.clone().contiguous() for name, value in made.items()}


def shown() -> torch.Tensor:
    """What dgm-eval shows the network: clean-fid's bicubic floats, ImageNet's mean and spread."""
    resize = make_resizer("PIL", False, "bicubic", (SIDE, SIDE))
    x = torch.tensor(np.stack([resize(image) for image in IMAGES])).permute(0, 3, 1, 2) / 255
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def features(tower: Dinov2) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = loaded(tower)(torch.tensor(IMAGES), [])
    return found


def test_features_are_timms(tower: Dinov2, theirs: nn.Module) -> None:
    with torch.inference_mode():
        expected = theirs(shown())
    assert torch.allclose(features(tower), expected, atol=1e-4)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float16, 0.003), (torch.bfloat16, 0.02)])
def test_half_precision_is_the_same_but_for_rounding(
    tower: Dinov2, theirs: nn.Module, dtype: torch.dtype, most: float
) -> None:
    """Towers here run in fp32 alone; whoever runs the reference in half precision is off by its
    rounding and nothing else: relative to a feature vector's length."""
    with torch.inference_mode(), torch.autocast("cpu", dtype):
        rounded = theirs(shown()).float()
    ours = features(tower)
    gap = (rounded - ours).norm(dim=-1) / ours.norm(dim=-1)
    assert 0 < gap.max() < most


def test_other_weights_are_one_line(tower: Dinov2, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((Path(tower.weights) / "config.json").read_text())
    other: dict[str, Any] = {"a": torch.zeros(1)}
    save_file(other, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match="not DINOv2's weights"):
        loaded(Dinov2(str(tmp_path)))
