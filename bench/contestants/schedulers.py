"""A contestant's scheduler, without torch: its class, and how often it will call the network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bench.contestants import files, own_pipelines, unets
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
"""diffusers' classes of noise prediction, by the names that a suite gives them."""
FLOW_HEUN = "FlowMatchHeunDiscreteScheduler"
NAMED = CLASSES | {
    "flow_euler": "FlowMatchEulerDiscreteScheduler",
    "flow_heun": FLOW_HEUN,
    "flow_lcm": "FlowMatchLCMScheduler",
    "scm": "SCMScheduler",
}
"""The same, and those of flows, for bases that draw by their own call."""
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
    """Network evaluations per image. is_estimate: the scheduler is unknown, or not on this machine,
    and counted as one evaluation per step."""

    count: int
    is_estimate: bool = False


def evaluations(row: Row) -> Evaluations | None:
    """How often a row will call its network; None for images that no sampler makes.

    The sampler counts the real calls (`bench.contestants.sampler`).
    """
    if row.steps is None:
        return None
    kind, config = scheduler(row.settings)
    if own_pipelines.is_own(row.settings):
        per_step = own_pipelines.calls_per_step(row.settings)
        points = 2 * row.steps - 1 if kind == FLOW_HEUN else row.steps
        return Evaluations(points * per_step, is_estimate=True)
    told = unets.takes_guidance(row.settings)
    per_call = 1 if told else row.settings.sampling.evaluations_per_step
    calls = _calls(kind, config, row.steps)
    if calls is None:
        return Evaluations(row.steps * per_call, is_estimate=True)
    return Evaluations(calls * per_call)


def _calls(kind: str | None, config: dict[str, Any], steps: int) -> int | None:
    """How often a scheduler calls the network; None where that is not known."""
    if kind in ONCE:
        return steps
    if kind in TWICE:
        return 2 * steps - 1
    if kind == "PNDMScheduler":  # its first steps, by Runge-Kutta or by evaluating one point twice
        return steps + (int(steps > 1) if config.get("skip_prk_steps") else 9)
    return None


def described(settings: ContestantSettings) -> str:
    """The sampling settings in words, for a plan; "" for images that no sampler makes."""
    if not settings.steps:
        return ""
    how, (kind, _) = settings.sampling, scheduler(settings)
    name = how.scheduler or f"base's {(kind or 'own').removesuffix('Scheduler')}"
    parts = [
        name,
        *([how.spacing] if how.spacing else []),
        *([f"eta {how.eta:g}"] if how.eta else []),
    ]
    guided = f"guidance {how.guidance:g}" if how.guidance > 1 else ""
    if own_pipelines.is_own(settings):
        return ", ".join(filter(None, [" ".join(parts), *_of_own_call(settings)]))
    guided += " as an input" if guided and unets.takes_guidance(settings) else ""
    more = len(settings.stack)
    on_top = f"{more} LoRA{'s' * (more > 1)} on top" if more else ""
    return ", ".join(filter(None, [" ".join(parts), guided, on_top]))


def _of_own_call(settings: ContestantSettings) -> list[str]:
    """What its pipeline is called with, in words."""
    own = settings.own
    found = [] if own.guidance is None else [f"guidance {own.guidance:g}"]
    found += [f"LoRA x {settings.lora_scale:g}"] if settings.lora_scale != 1 else []
    return [*found, *(f"{name} {_word(value)}" for name, value in
                      {**own.arguments, **own.scheduler_config}.items())]  # fmt: skip


def _word(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)[:40]


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
    return NAMED[name] if name else config.get("_class_name"), config
