"""The facts of a training beside its exported weights: training.json and a model card."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from hypersd import exports
from hypersd.recipe import Recipe
from hypersd.task import Task
from hypersd.whole_files import folder_written_whole


def publish(
    folder: Path, recipe: Recipe, task: Task, *, step: int, seconds: float,
    validation: Mapping[str, float], passes: Mapping[str, int], processes: int = 1,
    run: Mapping[str, Any],
) -> Path:  # fmt: skip
    """Export the present weights with their card: whole, or not at all.

    passes: of pictures through networks, by name. run: further facts of the training.
    """
    with folder_written_whole(folder) as beside:
        _export(beside, recipe, task, step, seconds, validation, passes, processes, run)
    return folder


def _export(
    folder: Path, recipe: Recipe, task: Task, step: int, seconds: float,
    validation: Mapping[str, float], passes: Mapping[str, int], processes: int,
    run: Mapping[str, Any],
) -> None:  # fmt: skip
    figures = task.export(folder)
    facts = {
        "recipe": recipe.name, "identity": recipe.identity, "seed": recipe.seed,
        "steps": step, "images_seen": step * recipe.batch,
        "seconds": round(seconds, 1), "hardware": hardware(processes), "torch": torch.__version__,
        **run, **passes, **before(recipe), **figures,
        **{name: round(value, 5) for name, value in validation.items()},
    }  # fmt: skip
    signed = {**facts, "sha256": exports.sums(folder)}
    (folder / exports.FACTS).write_text(json.dumps(signed, indent=1) + "\n", encoding="utf-8")
    (folder / exports.CARD).write_text(model_card(facts, recipe), encoding="utf-8")


COUNTED = ("images_seen", "unet_forwards", "unet_backwards", "seconds")


def before(recipe: Recipe) -> dict[str, float]:
    """The cost of the weights that a training starts from, as `<count>_before`: from the card in
    the folder of `options.onto` or `options.init`, including what that card counts before it.

    Empty for a training that starts from the base, or from weights without a card.
    """
    folder = recipe.options.get("onto") or recipe.options.get("init")
    try:
        facts = json.loads((Path(str(folder)) / exports.FACTS).read_text(encoding="utf-8"))
        return {f"{name}_before": facts[name] + facts.get(f"{name}_before", 0) for name in COUNTED}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def hardware(processes: int = 1) -> str:
    """The hardware of the training, in words."""
    times = f"{processes} x " if processes > 1 else ""
    if torch.cuda.is_available():
        return times + torch.cuda.get_device_name()
    return f"{times}{cpu()}, {torch.get_num_threads()} threads"


def cpu() -> str:
    """The CPU's model, as Linux names it; elsewhere what `platform` knows."""
    known = Path("/proc/cpuinfo")
    names = re.findall(
        r"(?m)^model name\s*: (.+)$", known.read_text(encoding="utf-8") if known.exists() else ""
    )
    return str(names[0]) if names else f"{platform.processor() or platform.machine()} CPU"


def model_card(facts: Mapping[str, Any], recipe: Recipe) -> str:
    """A model card in Markdown: how it was trained, on what, measured figures, the whole recipe."""
    rows = "\n".join(
        f"| {key.replace('_', ' ')} | {_shown(value)} |" for key, value in facts.items()
    )
    head = f"# {recipe.name}\n\nTrained by `python -m hypersd recipe={recipe.name}`."
    whole = OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(recipe)))
    table = f"| | |\n|---|---|\n{rows}\n"
    return f"{head}\n{_origin(recipe)}\n\n{table}\n## Recipe\n\n```yaml\n{whole}```\n"


def _shown(value: Any) -> str:
    return "not known" if value is None else str(value)


def _origin(recipe: Recipe) -> str:
    if "/" not in recipe.base and ":" not in recipe.base:
        return "Licence: Apache-2.0. Data: procedural scenes (hypersd/shapes)."
    data = ", ".join(f"{key} {value}" for key, value in recipe.data.items())
    return f"Licence: that of the base model, {recipe.base}. Data: {data}."
