"""The world's evaluators, loaded from the shipped weights, fp32, frozen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer

from hypersd.errors import UsageError
from hypersd.model_folder import cannot_load
from hypersd.pictures import to_unit
from hypersd.shapes.aesthetic import AestheticHead
from hypersd.shapes.clip import CONTEXT, encode_text, load, token_ids, trimmed
from hypersd.shapes.features import FeatureNet
from hypersd.shapes.oracle import Oracle, OracleNet
from hypersd.shapes.weights import evaluator_file, weights_path, weights_sha256

__all__ = ["ClipModel", "load_aesthetic", "load_clip", "load_features", "load_oracle",
           "weights_sha256"]  # fmt: skip


class ClipModel:
    """An open_clip model of the world with its tokenizer; embeddings are L2-normalised fp32."""

    def __init__(self, model: open_clip.CLIP, tokenizer: Any, device: torch.device | str) -> None:
        self.model, self.tokenizer, self.device = model.to(device).eval(), tokenizer, device

    @torch.no_grad()
    def encode_image(self, images: Any) -> Tensor:
        """uint8 [B, 64, 64, 3] -> [B, D]."""
        return F.normalize(self.model.encode_image(to_unit(images, self.device)), dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> [B, D]; what is longer than the model's context is cut, its end token kept."""
        ids = trimmed(token_ids(self.tokenizer, list(texts)), self.model.text_eos_id)
        return encode_text(self.model, ids.to(self.device))

    def truncated(self, texts: Sequence[str]) -> int:
        """How many texts are longer than the model's context."""
        return sum(len(ids) > CONTEXT for ids in self.tokenizer(list(texts)).input_ids)


def load_clip(name: str, device: torch.device | str = "cpu") -> ClipModel:
    """The evaluator "clip" or "hps". Raises UsageError where its files are missing or damaged."""
    folder = evaluator_file(name).parent
    try:
        model = load(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # loaders of three parts raise many kinds
        raise _damaged(name, folder, error) from None
    return ClipModel(model.requires_grad_(False), tokenizer, device)


def load_aesthetic(device: torch.device | str = "cpu") -> nn.Module:
    """The head that rates the embeddings of "clip": [B, D] -> [B], 1 to 10."""
    return _loaded("aesthetic", AestheticHead(), device)


def load_features(device: torch.device | str = "cpu") -> nn.Module:
    """The feature network of the Frechet distance: uint8 [B, 64, 64, 3] -> [B, 64]."""
    return _loaded("features", FeatureNet(_fact("features", "width")), device)


def load_oracle(name: str = "oracle", device: torch.device | str = "cpu") -> Oracle:
    """The attribute oracle, or the one by which choices are made ("oracle_validation");
    `.judge(images, prompts)` gives rows in the order of `hypersd.shapes.oracle.COLUMNS`."""
    net = OracleNet(_fact(name, "width"))
    _loaded(name, net, device)
    return Oracle(net, device)


def _loaded(name: str, module: nn.Module, device: torch.device | str) -> nn.Module:
    path = evaluator_file(name)
    try:
        module.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise _damaged(name, path, error) from None
    return module.to(device).eval().requires_grad_(False)


def _fact(name: str, key: str) -> int:
    """A whole number that the training wrote beside the weights."""
    path = weights_path(name) / "training.json"
    try:
        return int(json.loads(path.read_bytes())[key])
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(name, path, error) from None


def _damaged(name: str, path: Path, error: Exception) -> UsageError:
    folder = path.parent
    return UsageError(f"evaluator {name!r}: {folder}: {cannot_load(folder, error)}")
