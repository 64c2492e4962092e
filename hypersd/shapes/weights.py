"""Where the shipped weights lie, and what they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypersd.errors import UsageError, nearest

FOLDER = Path(__file__).parent / "weights"
EVALUATORS = ("clip", "hps", "aesthetic", "features", "oracle")
VALIDATION = ("oracle_validation",)  # what choices are made by: never in a table of test prompts
NAMES = ("base", "lcm", "tcd", "tscd", *EVALUATORS, *VALIDATION)
_FILES = {"clip": "open_clip_model.safetensors", "hps": "open_clip_model.safetensors"}


def weights_path(name: str) -> Path:
    """The folder of shipped weights. Raises UsageError for an unknown name or a missing folder."""
    if name not in NAMES:
        raise UsageError(f"no shipped weights {name!r}; {nearest(name, NAMES)}")
    folder = FOLDER / name
    if not folder.is_dir():
        recipe = "shapes_teacher" if name == "base" else f"shapes_{name}"
        raise UsageError(
            f"shipped weights {name!r} are missing at {folder}; make them with: "
            f"python -m hypersd recipe={recipe} && python -m hypersd.shapes.ship {name}"
        )
    return folder


def evaluator_file(name: str) -> Path:
    """The weights file of an evaluator. Raises UsageError where it is unknown or missing."""
    known = (*EVALUATORS, *VALIDATION)
    if name not in known:
        raise UsageError(f"no evaluator {name!r}; {nearest(name, known)}")
    path = weights_path(name) / _FILES.get(name, "model.safetensors")
    if not path.is_file():
        raise UsageError(f"evaluator {name!r}: {path} is missing")
    return path


def weights_sha256(name: str) -> str:
    """The sha256 of an evaluator's weights file, in hex; no network is loaded."""
    return hashlib.sha256(evaluator_file(name).read_bytes()).hexdigest()
