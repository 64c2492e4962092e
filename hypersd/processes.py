"""One process or many: which rows of a batch each process does, and how gradients are averaged.

Every process draws the same batch and does its own rows of it; gradients are averaged by an
all-reduce before they are clipped, so all processes take the same step. Source of processes,
devices and trackers: accelerate, started alone, by torchrun or by `accelerate launch`.

DistributedDataParallel is left out: one module plays several roles, of which each turn trains one,
with several forward passes before a backward pass; its hooks assume one of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType, broadcast_object_list, gather_object
from torch import Tensor, nn

from hypersd.errors import UsageError, nearest
from hypersd.recipe import Recipe
from hypersd.task import Task

DEVICES = ("cpu", "cuda", "mps")
BUCKET = 32 * 2**20  # values that are sent at a time: 128 MiB of fp32


def start(device: str, folder: Path, trackers: Sequence[str] = ()) -> Accelerator:
    """This process's accelerator, on a "cpu", "cuda" or "mps" device; its trackers write below
    `folder`. Raises UsageError for an unknown or missing tracker or device."""
    known = [kind.value for kind in LoggerType if kind.value != "all"]
    for name in trackers:
        if name not in known:
            raise UsageError(f"trackers: no {name!r}; {nearest(name, known)}")
        if name not in [kind.value for kind in get_available_trackers()]:
            raise UsageError(f"trackers: {name!r} is not installed; pip install {name}")
    if device.partition(":")[0] not in DEVICES:
        raise UsageError(f"device={device!r}; {nearest(device, DEVICES)}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device={device!r}: there is no CUDA device here; valid: cpu")
    return Accelerator(cpu=device == "cpu", log_with=[*trackers] or None, project_dir=str(folder))


def shares(recipe: Recipe, task: Task, accelerator: Accelerator) -> list[slice]:
    """The rows of a batch that this process does, one part after the other.

    Raises UsageError where the batch cannot be cut evenly, or the task cannot be cut at all.
    """
    parts = recipe.accumulate * accelerator.num_processes
    if parts == 1:
        return [slice(0, recipe.batch)]
    said = f"{accelerator.num_processes} processes times accumulate={recipe.accumulate}"
    if not task.divides:
        raise UsageError(f"recipe {recipe.name}: method {recipe.method} cannot split a batch, but "
                         f"there are {said}; valid: 1 process and accumulate=1")  # fmt: skip
    if recipe.batch % parts:
        raise UsageError(f"recipe {recipe.name}: batch={recipe.batch} in {said}; valid: a multiple "
                         f"of {parts}")  # fmt: skip
    rows, first = recipe.batch // parts, accelerator.process_index * recipe.accumulate
    return [slice(i * rows, (i + 1) * rows) for i in range(first, first + recipe.accumulate)]


def mean_value(value: float, accelerator: Accelerator) -> float:
    """The mean of a number over all processes."""
    if accelerator.num_processes == 1:
        return value
    found: Tensor = accelerator.reduce(
        torch.tensor(value, device=accelerator.device), reduction="mean"
    )
    return float(found)


def agreed(said: str | None, accelerator: Accelerator) -> str | None:
    """The main process's value, in all processes."""
    if accelerator.num_processes == 1:
        return said
    found = [said]
    broadcast_object_list(found)
    return found[0]


def mean_scalars(scalars: dict[str, float], accelerator: Accelerator) -> dict[str, float]:
    """The means over all processes of what has been logged, of each name where it is there."""
    if accelerator.num_processes == 1:
        return scalars
    return mean_of(gather_object([scalars]))


def total_counts(counts: Counter[str], accelerator: Accelerator) -> Counter[str]:
    """The sums of counts over all processes."""
    if accelerator.num_processes == 1:
        return counts
    return sum(gather_object([counts]), Counter[str]())


def mean_of(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each name over those that have it."""
    names = dict.fromkeys(name for one in found for name in one)
    return {name: fmean([one[name] for one in found if name in one]) for name in names}


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace gradients by their means over all processes, many in one message."""
    if accelerator.num_processes == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    for bucket in _buckets(gradients):
        flat: Tensor = accelerator.reduce(torch.cat([g.flatten() for g in bucket]), "mean")
        parts = torch.split(flat, [g.numel() for g in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _buckets(gradients: list[Tensor]) -> list[list[Tensor]]:
    buckets: list[list[Tensor]] = []
    held = BUCKET
    for gradient in gradients:
        if held + gradient.numel() > BUCKET:
            buckets.append([])
            held = 0
        buckets[-1].append(gradient)
        held += gradient.numel()
    return buckets
