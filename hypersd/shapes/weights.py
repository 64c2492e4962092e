"""Paths, recipes and checksums of the shipped weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hypersd import exports
from hypersd.errors import UsageError, nearest

FOLDER = Path(__file__).parent / "weights"
PREFERENCES = ("hps", "image_reward", "pick")  # CLIPs tuned on the votes of a pool of raters
EVALUATORS = ("clip", *PREFERENCES, "aesthetic", "features", "oracle")
REWARDS = ("reward_clip", "reward_aesthetic", "segmenter")  # of feedback learning, in no table
VALIDATION = ("oracle_validation", "validation_raters")  # what choices are made by, in no table
STUDENTS = (
    "lcm", "tcd", "tscd", "pcm", "dmd", "dmd2", "tcd_dmd", "tscd_dmd",
    "lightning_1step", "lightning_2step", "lightning_4step", "lightning_8step", "lightning_unet",
    "hyper_sd_1step_unet", "hyper_sd_2step", "hyper_sd_4step", "hyper_sd_8step", "hyper_sd_unified",
    "lcm_feedback", "tcd_feedback", "tscd_feedback", "lightning_feedback",
)  # fmt: skip
NAMES = ("base", "flow", *STUDENTS, *EVALUATORS, *REWARDS, *VALIDATION)
TRAINED_BY = {  # names that differ from their recipe: the recipe, and the part of its training
    "base": ("shapes_teacher_overlaps", "final"),
    "clip": ("shapes_clip_reading", "final"),
    "oracle": ("shapes_oracle_covered", "final"),
    "lightning_1step": ("shapes_lightning", "final"),
    "lightning_2step": ("shapes_lightning", "2step"),
    "lightning_4step": ("shapes_lightning", "4step"),
    "lightning_8step": ("shapes_lightning", "8step"),
}
_FILES = dict.fromkeys(
    ("clip", *PREFERENCES, "reward_clip", "validation_raters"), "open_clip_model.safetensors"
)


def training(name: str) -> tuple[str, str]:
    """The recipe whose training gives shipped weights, and the folder in it: "final", or a stage's
    snapshot."""
    return TRAINED_BY.get(name, (f"shapes_{name}", "final"))


def weights_path(name: str) -> Path:
    """The folder of shipped weights. Raises UsageError for an unknown name or a missing folder."""
    if name not in NAMES:
        raise UsageError(f"no shipped weights {name!r}; {nearest(name, NAMES)}")
    folder = FOLDER / name
    if not folder.is_dir():
        raise UsageError(
            f"shipped weights {name!r} are missing at {folder}; make them with: "
            f"python -m hypersd recipe={training(name)[0]} && python -m hypersd.shapes.ship {name}"
        )
    return folder


def located(name: str) -> Path:
    """The folder of shipped weights by their name, or the folder of that path."""
    return weights_path(name) if name in NAMES else Path(name)


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
    """The sha256 of an evaluator's weights file, in hex; no network is loaded.

    Raises UsageError where configuration or tokenizer beside it are not those of its training.
    """
    path = evaluator_file(name)
    found, expected = exports.sums(path.parent), _expected(path.parent)
    for other in found.keys() - {path.name} if expected else ():
        if found[other] != expected.get(other) and not other.startswith("."):
            raise UsageError(f"evaluator {name!r}: {path.parent / other} is not what its training "
                             "wrote; put the shipped file back")  # fmt: skip
    return found[path.name]


def _expected(folder: Path) -> Mapping[str, str]:
    """The checksums of an export; empty where it has none, or is older than they are."""
    try:
        facts = json.loads((folder / exports.FACTS).read_text(encoding="utf-8"))
        return dict(facts.get("sha256") or {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError):
        raise UsageError(f"{folder / exports.FACTS}: cannot be read") from None
