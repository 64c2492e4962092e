"""A contestant's scheduler, as far as it can be told without torch: which, and how often it will
call the network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bench.contestants import files
from bench.errors import UsageError
from bench.suite.contestant import ContestantSettings, Row

CLASSES = {
    "ddim": "DDIMScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
}
"""diffusers' classes, by the names that a suite gives them."""
ONCE = {
    *CLASSES.values(),
    "DDIMParallelScheduler",
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EDMEulerScheduler",
    "LMSDiscreteScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
}
TWICE = {  # of second order: in every step but the last, which ends at no noise
    "DPMSolverSDEScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
}


@dataclass(frozen=True)
class Evaluations:
    """Of the network per image. is_estimate: the scheduler is none of those that are known here, or
    not on this machine, and is taken for one that calls the network once a step."""

    count: int
    is_estimate: bool = False


def evaluations(row: Row) -> Evaluations | None:
    """How often a row will call its network; None for images that no sampler makes.

    What was really called is counted where it happens (`bench.contestants.sampler`).
    """
    steps, least = row.steps, row.nfe
    if steps is None or least is None:
        return None
    kind, config = scheduler(row.settings)
    if kind in ONCE:
        return Evaluations(least)
    per_call = least // steps
    if kind in TWICE:
        return Evaluations((2 * steps - 1) * per_call)
    if kind == "PNDMScheduler":  # its first steps, by Runge-Kutta or by evaluating one point twice
        more = int(steps > 1) if config.get("skip_prk_steps") else 9
        return Evaluations((steps + more) * per_call)
    return Evaluations(least, is_estimate=True)


def scheduler(settings: ContestantSettings) -> tuple[str | None, dict[str, Any]]:
    """diffusers' class of a contestant's scheduler, and the configuration of the base's own.

    The class is None where it is the base's, and that is not on this machine or cannot be read.
    """
    name = settings.sampling.scheduler
    try:
        folder = files.base_folder(f"contestants.{settings.key}", settings)
        config = json.loads(
            (folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8")
        )
    except (UsageError, OSError, ValueError):
        config = {}
    config = config if isinstance(config, dict) else {}
    return CLASSES[name] if name else config.get("_class_name"), config
