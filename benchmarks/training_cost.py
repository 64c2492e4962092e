"""The cost of a training step of each method, on the same base with the same batch:

    python benchmarks/training_cost.py [base=base|FOLDER] [methods="lcm;tcd"] [batch=48] [steps=5]
                                       [device=cpu] [rank=8] [precision=bf16] [base_precision=fp32]
                                       [accumulate=1] [gradient_checkpointing=false] [out=FILE.json]

Seconds per step (every role's turn; one step before is not counted), pictures per second, bytes of
weights, gradients and optimizer states, and how many UNets are resident. Latents and text are
random, of the base's shapes: reading data is no part of it. Prints a table, writes JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from measure import machine
from torch import Tensor

from hypersd import loop
from hypersd.base import Base
from hypersd.card import hardware
from hypersd.conditions import SdxlText, Text
from hypersd.data import Samples
from hypersd.plain_yaml import value
from hypersd.recipe import Recipe

LAST = {"segments": 1, "steps": 1000, "distance": 0.25, "adversarial": 0.1}
MOVE = {"from": 2, "to": 1, "steps": 1000, "critic": "pair", "noised": True}
WORLD = "base"  # the base whose rewards are shipped
METHODS: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "lcm": ("lcm", {}, []),
    "tcd": ("tcd", {}, []),
    "tscd": ("tscd", {"target": "ema", "distance": "mse"}, [LAST | {"adversarial": 0.0}]),
    "tscd, critic": ("tscd", {"target": "ema", "distance": "mse"}, [LAST]),
    "tscd, frozen critic": ("tscd", {"target": "ema", "critic": "frozen"}, [LAST]),
    "pcm, critic": ("pcm", {}, [LAST]),
    "lightning, critic": ("lightning", {}, [MOVE]),
    "lightning, frozen critic": ("lightning", {"trunk": "frozen"}, [MOVE]),
    "lightning, whole UNet": ("lightning", {"full": True}, [MOVE]),
    "dmd": ("dmd", {"fake_updates": 2}, []),
    "dmd, whole UNet": ("dmd", {"fake_updates": 2, "full": True}, []),
    "dmd2": ("dmd2", {"fake_updates": 2}, []),
    "tdm": ("tdm", {}, []),
    "one_adapter": ("one_adapter", {"gan_from": 0.0}, []),
    "feedback": ("feedback", {"guidance": 1.0}, []),
}


@dataclass(frozen=True)
class Cost:
    """unets: parameters of all UNet-shaped networks but the adapters, in those of one UNet.
    peak_bytes: of the device's memory, where it is counted (CUDA)."""

    method: str
    seconds_per_step: float
    images_per_second: float
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    unets: float
    peak_bytes: int | None


class Random:
    """Random latents and text of a base's shapes, in the place of a data set."""

    def __init__(self, base: Base) -> None:
        self.base, self.text = base, base.encode_prompts(["a"])

    def samples(self, base: Base, step: int, size: int, seed: int, share: slice) -> Samples:
        """As `hypersd.data.Dataset.samples`."""
        config, rows = base.network.config, torch.arange(size)[share]
        shape = torch.Size((size, config.in_channels, *[config.sample_size] * 2))
        x0 = torch.randn(shape, generator=torch.Generator().manual_seed(step))[share]
        return Samples(x0, ["a"] * len(rows), repeated(self.text, len(rows)), rows, shape)


def repeated(text: Text, count: int) -> Text:
    """The condition of one sample for several."""
    if isinstance(text, SdxlText):
        parts = (text.states, text.pooled, text.time_ids)
        return SdxlText(*(p.repeat(count, *[1] * (p.ndim - 1)) for p in parts))
    return text.repeat(count, 1, 1)


def recipe_of(name: str, given: dict[str, Any]) -> Recipe:
    """The recipe of a row, with the settings that all rows share."""
    method, options, stages = METHODS[name]
    options = {"guidance": 3.0, "points": 40, "rank": given["rank"]} | options
    if method == "dmd":
        options["pairs"] = min(4, given["batch"])  # a recipe's default, or what a batch holds
    if method == "feedback":
        from hypersd.shapes.weights import weights_path

        reward = {"kind": "aesthetic", "folder": str(weights_path("aesthetic")), "target": 9.0,
                  "clip": str(weights_path("clip"))}  # fmt: skip
        options["rewards"] = [reward]
    plain = {k: v for k, v in given.items() if k not in ("rank", "device", "repeats")}
    return Recipe(
        name=name, method=method, steps=1000, lr=1e-4, options=options, stages=stages,
        data={"set": "shapes/train", "n": 1}, trackers=[], **plain,
    )  # fmt: skip


def cost(name: str, given: dict[str, Any]) -> Cost:
    """Run one step, then time the others."""
    recipe, device = recipe_of(name, given), torch.device(given["device"])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        task: Any = loop.build(recipe, device)
        task.data = Random(task.base)
        run = loop._Run(recipe, task, Path(folder), loop.start(given["device"], Path(folder)))
        seconds = [timed(run, step) for step in range(1 + given["repeats"])][1:]
    median = statistics.median(seconds)
    trained = [p for role in run.optimizers for p in run.of(role)]
    states = (v for o in run.optimizers.values() for state in o.state.values()
              for v in state.values() if isinstance(v, Tensor))  # fmt: skip
    networks = [m for m in task.modules.values() if hasattr(m, "parameters")]
    weights = {id(p): p for network in networks for p in network.parameters()}.values()
    return Cost(
        name, round(median, 4), round(recipe.batch / median, 2), held(weights), held(trained),
        held(states), round(unets(task), 2),
        torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
    )  # fmt: skip


def timed(run: loop._Run, step: int) -> float:
    """Seconds of one step of all roles."""
    run.step, rng = step, torch.Generator().manual_seed(step)
    began = time.perf_counter()
    run.update(rng)
    if run.accelerator.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def held(tensors: Iterable[Tensor]) -> int:
    """Bytes of some tensors."""
    return sum(t.numel() * t.element_size() for t in tensors)


def unets(task: Any) -> float:
    """How many UNets' parameters are resident: the base, whole copies, critics' own trunks."""
    base = [p for k, p in task.base.network.named_parameters() if "lora_" not in k]
    trunks = [m.trunk for m in task.modules.values() if hasattr(m, "trunk")]
    others = [trunk for trunk in trunks if trunk is not task.base.network]
    others += list(task.student.copies.values())
    more = sum(p.numel() for network in others for p in network.parameters())
    return 1 + more / sum(p.numel() for p in base)


def table(rows: list[Cost]) -> str:
    """Markdown."""
    head = ("method", "s / step", "images / s", "weights MiB", "gradients MiB", "optimizer MiB",
            "UNets")  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for r in rows:
        sizes = [f"{n / 2**20:.1f}" for n in (r.weight_bytes, r.gradient_bytes, r.optimizer_bytes)]
        lines.append(f"| {r.method} | {r.seconds_per_step:.3f} | {r.images_per_second:.1f} | "
                     f"{' | '.join(sizes)} | {r.unets:.2f} |")  # fmt: skip
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Measure, print, write."""
    given: dict[str, Any] = {
        "base": WORLD, "batch": 48, "steps": 5, "device": "cpu", "rank": 8, "precision": "bf16",
    }  # fmt: skip
    given |= {k: value(v, k) for k, _, v in (a.partition("=") for a in arguments)}
    out = Path(given.pop("out", "runs/benchmarks/training_cost.json"))
    names = str(given.pop("methods", "")).split(";") if "methods" in given else list(METHODS)
    if given["base"] != WORLD:
        names = [name for name in names if name != "feedback"]
    shared = given | {"repeats": given["steps"]}
    del shared["steps"]
    rows = []
    for name in names:
        rows.append(cost(name, shared))
        print(json.dumps(asdict(rows[-1])), flush=True)
    print(f"\n{table(rows)}\n\n{hardware()}; {machine()['words']}")
    out.parent.mkdir(parents=True, exist_ok=True)
    found = {"settings": given, "hardware": hardware(), "machine": machine(),
             "rows": [asdict(row) for row in rows]}  # fmt: skip
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
