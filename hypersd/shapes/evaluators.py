"""The world's evaluators, loaded from the shipped weights, fp32, frozen.

Each is imported where it is loaded: diffusers and open_clip take seconds, which the aesthetic head,
say, need not spend.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from hypersd.errors import UsageError
from hypersd.model_folder import cannot_load
from hypersd.shapes.weights import evaluator_file, weights_path, weights_sha256

if TYPE_CHECKING:
    from hypersd.shapes.clip_model import ClipModel
    from hypersd.shapes.oracle import Oracle

__all__ = ["load_aesthetic", "load_clip", "load_features", "load_oracle",
           "weights_sha256"]  # fmt: skip


def load_clip(name: str, device: torch.device | str = "cpu") -> ClipModel:
    """The evaluator "clip" or "hps". Raises UsageError where its files are missing or damaged."""
    from transformers import AutoTokenizer

    from hypersd.shapes.clip_model import ClipModel, load

    folder = evaluator_file(name).parent
    try:
        model = load(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # loaders of three parts raise many kinds
        raise _damaged(name, folder, error) from None
    return ClipModel(model.requires_grad_(False), tokenizer, device)


def load_aesthetic(device: torch.device | str = "cpu") -> nn.Module:
    """The head that rates the embeddings of "clip": [B, D] -> [B], 1 to 10."""
    from hypersd.shapes.aesthetic_head import AestheticHead

    return _loaded("aesthetic", AestheticHead(), device)


def load_features(device: torch.device | str = "cpu") -> nn.Module:
    """The feature network of the Frechet distance: uint8 [B, 64, 64, 3] -> [B, 64]."""
    from hypersd.shapes.features import FeatureNet

    return _loaded("features", FeatureNet(_fact("features", "width")), device)


def load_oracle(name: str = "oracle", device: torch.device | str = "cpu") -> Oracle:
    """The attribute oracle, or the one by which choices are made ("oracle_validation");
    `.judge(images, prompts)` gives rows in the order of `hypersd.shapes.oracle.COLUMNS`."""
    from hypersd.shapes.oracle import Oracle, OracleNet

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
