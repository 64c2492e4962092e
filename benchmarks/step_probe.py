"""Runs a training script as it is, and writes what its steps cost:
`python -m benchmarks.step_probe FOUND.json SCRIPT.py [the script's own words]`.

A hook that torch calls after every optimizer step notes the time, so seconds are those from one
step to the next, data reading and logging included. After the third step of the first optimizer
(its states are there by then) the tensors alive are counted, and the clock starts anew. Whatever
becomes of the script afterwards, what was seen is written.
"""

from __future__ import annotations

import gc
import json
import resource
import runpy
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

WARM = 3  # steps before the clock starts


class Probe:
    """seconds: of each step.  alive: see `alive`.  peak_bytes: of the device's memory on CUDA, else
    of the process, up to the last step."""

    def __init__(self) -> None:
        self.optimizers: dict[int, Any] = {}
        self.steps = 0
        self.times: list[float] = []
        self.alive: dict[str, float] = {}
        self.peak_bytes = 0

    def __call__(self, optimizer: Any, *_: Any) -> None:
        """After a step of any optimizer; those of the first are counted."""
        self.optimizers.setdefault(id(optimizer), optimizer)
        if id(optimizer) != next(iter(self.optimizers)):
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.steps += 1
        if self.steps == WARM:
            self.alive = alive(self.optimizers.values())
        if self.steps >= WARM:
            self.times.append(time.perf_counter())
            self.peak_bytes = peak_bytes()

    def found(self) -> dict[str, Any]:
        """All of it, for JSON."""
        seconds = [b - a for a, b in zip(self.times, self.times[1:], strict=False)]
        return {"seconds": seconds, "peak_bytes": self.peak_bytes, **self.alive}


def alive(optimizers: Iterable[Any]) -> dict[str, float]:
    """Bytes of tensors by what they are for, and how many UNets are resident.

    unet_bytes: weights of networks of diffusers' class and of all that shares no weight with the
    VAE and text encoders (adapters, critics).  other_bytes: those of VAE and text encoders.
    unets: parameters of UNets and critics without adapters, in those of one UNet.
    trained: parameters that get a gradient.
    """
    gc.collect()
    # By type, never by isinstance: that would wake up lazy modules of transformers.
    modules = [m for m in gc.get_objects() if issubclass(type(m), nn.Module)]
    others = parameters(part for m in modules for part in _others(m))
    mine = {i: p for i, p in parameters(modules).items() if i not in others}
    adapters = {id(p) for m in modules for name, p in m.named_parameters() if "lora_" in name}
    unets = (m for m in modules if type(m).__name__ == "UNet2DConditionModel")
    # The largest is a whole one: a critic's trunk is a UNet without its second half.
    one = max(sum(p.numel() for p in m.parameters() if id(p) not in adapters) for m in unets)
    states = (v for o in optimizers for state in o.state.values() for v in state.values())
    return {
        "unet_bytes": held(mine.values()),
        "other_bytes": held(others.values()),
        "gradient_bytes": held(p.grad for p in mine.values() if p.grad is not None),
        "optimizer_bytes": held(v for v in states if isinstance(v, Tensor)),
        "unets": sum(p.numel() for i, p in mine.items() if i not in adapters) / one,
        "trained": sum(p.numel() for p in mine.values() if p.grad is not None),
    }


def _others(module: nn.Module) -> Iterable[nn.Module]:
    """A VAE or text encoder with all that is in it, nothing of other modules."""
    return module.modules() if type(module).__name__.startswith(("Autoencoder", "CLIP")) else ()


def parameters(modules: Iterable[nn.Module]) -> dict[int, nn.Parameter]:
    """The parameters of some modules by id, each once."""
    return {id(p): p for m in modules for p in m._parameters.values() if p is not None}


def held(tensors: Iterable[Tensor]) -> int:
    """Bytes of some tensors."""
    return sum(t.numel() * t.element_size() for t in tensors)


def peak_bytes() -> int:
    """The most memory that was in use until now."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def main(arguments: list[str]) -> None:
    """Run the script under the probe."""
    found, script, *words = arguments
    probe = Probe()
    register_optimizer_step_post_hook(probe)
    sys.argv = [script, *words]
    sys.path.insert(0, str(Path(script).parent))
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        Path(found).write_text(json.dumps(probe.found()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
