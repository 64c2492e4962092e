"""The training loop, one for everything that is trained here.

A step is a function of (weights, seed, step): all randomness comes from a generator that is
re-seeded at every step, so a resumed training equals an uninterrupted one by construction.
"""

from __future__ import annotations

import copy
import json
import math
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hypersd import checkpoint
from hypersd.errors import UsageError, nearest
from hypersd.recipe import Recipe

STUDENT = "student"


class Task(Protocol):
    """One trainable thing; whoever inherits must have `groups`, `loss` (or `turn_loss`) and
    `export`.

    modules: all that a checkpoint must hold (trained parameters and buffers).
    """

    modules: dict[str, nn.Module]

    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups, each of one role (its "role", else the student); a group's "lr"
        scales with the schedule. Every role has an optimizer of its own."""

    def turns(self, step: int) -> Sequence[str]:
        """The roles that are updated at a step, one after the other: a role may come twice."""
        return (STUDENT,)

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The student's scalar to minimise at a step, and scalars to log. Draws from `rng` only."""

    def turn_loss(
        self, role: str, step: int, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The scalar that a role minimises in its turn; the student's is `loss`."""
        return self.loss(step, rng)

    def after_step(self, step: int) -> None:
        """What follows a step, such as an average of the weights."""
        return

    def preview(self, path: Path) -> None:
        """Write a picture of what the model does on validation data, where that makes sense."""
        return

    def snapshot(self, step: int) -> str | None:
        """The name of a folder to export to after a step, besides the final weights, or None."""
        return None

    def cost(self, steps: int) -> dict[str, int]:
        """What so many steps cost, for the model card: network passes by name."""
        return {}

    def export(self, out: Path) -> dict[str, Any]:
        """Write the weights into a folder; returns figures for the model card."""


def build(recipe: Recipe, device: torch.device) -> Task:
    """The task of a recipe's method. Raises UsageError for an unknown method."""
    from hypersd.methods import METHODS

    if recipe.method not in METHODS:
        valid = nearest(recipe.method, METHODS)
        raise UsageError(f"recipe {recipe.name}: no method {recipe.method!r}; {valid}")
    return METHODS[recipe.method](recipe, device)


def train(recipe: Recipe, out: Path, *, device: str = "cpu") -> Path:
    """Train a recipe in `out`, from its newest checkpoint on, and export to `out/final`.

    Writes train.jsonl (one line per logged step), preview PNGs, TensorBoard events, checkpoints,
    and `final` with the weights and a model card. A training that is done returns at once.
    Raises UsageError where `out` holds another recipe's training, or a loss is not finite.
    """
    final = out / "final"
    if (final / "README.md").is_file():
        _same_recipe(final / "training.json", recipe)
        return final
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    task = build(recipe, torch.device(device))
    run = _Run(recipe, task, out)
    run.resume()
    run.go()
    return run.finish(final)


def _same_recipe(path: Path, recipe: Recipe) -> None:
    found = json.loads(path.read_text())["identity"]
    if found != recipe.identity:
        raise UsageError(
            f"{path.parent.parent} holds another recipe's training; choose another out="
        )


class _Run:
    """One training in one folder: optimizer, average, log and clock."""

    def __init__(self, recipe: Recipe, task: Task, out: Path) -> None:
        self.recipe, self.task, self.out = recipe, task, out
        roles: dict[str, list[dict[str, Any]]] = {}
        for group in task.groups():
            found = {"lr": recipe.lr, "role": STUDENT, **group, "params": list(group["params"])}
            roles.setdefault(found["role"], []).append(found | {"full_lr": found["lr"]})
        self.optimizers = {
            role: torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
            for role, groups in roles.items()
        }
        self.parameters: list[nn.Parameter] = self.of(STUDENT)
        self.average: list[Tensor] | None = (
            [*copy.deepcopy(self.parameters)] if recipe.average else None
        )
        self.step, self.seconds = 0, 0.0

    def of(self, role: str) -> list[nn.Parameter]:
        """A role's parameters."""
        return [p for group in self.optimizers[role].param_groups for p in group["params"]]

    def resume(self) -> None:
        found = checkpoint.newest(self.out, self.recipe.identity)
        if found is None:
            return
        checkpoint.restore(self.task.modules, found)
        extra = found["extra"]
        for role, optimizer in self.optimizers.items():
            optimizer.load_state_dict(extra["optimizers"][role])
        self.step, self.seconds = found["step"], extra["seconds"]
        if self.average is not None:
            with torch.no_grad():
                for mine, kept in zip(self.average, extra["average"], strict=True):
                    mine.copy_(kept)
        print(f"resumed at step {self.step}", flush=True)

    def save(self) -> None:
        states = {role: optimizer.state_dict() for role, optimizer in self.optimizers.items()}
        extra: dict[str, Any] = {"optimizers": states, "seconds": self.seconds}
        if self.average is not None:
            extra["average"] = [p.detach() for p in self.average]
        modules = self.task.modules
        checkpoint.save(self.out, self.step, self.recipe.identity, modules, extra)

    def go(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        recipe, rng = self.recipe, torch.Generator()
        columns = (
            TextColumn(recipe.name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"),
        )  # fmt: skip
        writer = SummaryWriter(str(self.out / "events"), purge_step=self.step)
        with Progress(*columns) as bar, (self.out / "train.jsonl").open("a") as log, writer:
            shown = bar.add_task("", total=recipe.steps, completed=self.step, rate="")
            while self.step < recipe.steps:
                began = time.perf_counter()
                rng.manual_seed(recipe.seed * 1_000_003 + self.step)
                scalars = self.update(rng)
                self.step += 1
                self.seconds += time.perf_counter() - began
                rate = self.step / self.seconds
                scalars |= {"it_per_s": rate, "images_per_s": rate * recipe.batch}
                text = f"{rate:.2f} it/s {rate * recipe.batch:.0f} img/s loss {scalars['loss']:.4g}"
                bar.update(shown, completed=self.step, rate=text)
                if self.step % 20 == 0 or self.step == recipe.steps:
                    log.write(json.dumps({"step": self.step, **scalars}) + "\n")
                    log.flush()
                    for name, value in scalars.items():
                        writer.add_scalar(name, value, self.step)
                if kept := self.task.snapshot(self.step - 1):
                    self.publish(self.out / kept)
                if self.step % recipe.checkpoint_every == 0 and self.step < recipe.steps:
                    self.save()
                    self.task.preview(self.out / f"preview-{self.step:06d}.png")

    def update(self, rng: torch.Generator) -> dict[str, float]:
        """One step: every role's turn in order. The student's scalars keep their names."""
        factor = schedule(self.recipe, self.step)
        scalars = {"lr_factor": factor}
        for role in self.task.turns(self.step):
            found = self.turn(role, factor, rng)
            mark = "" if role == STUDENT else f"{role}/"
            scalars |= {mark + name: value for name, value in found.items()}
        if self.average is not None:
            rate = min(float(self.recipe.average or 0), (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(self.average, [*self.parameters], 1 - rate)
        self.task.after_step(self.step)
        return scalars

    def turn(self, role: str, factor: float, rng: torch.Generator) -> dict[str, float]:
        """One update of one role's parameters."""
        optimizer, parameters = self.optimizers[role], self.of(role)
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor
        with precision(self.recipe.precision):
            loss, scalars = self.task.turn_loss(role, self.step, rng)
        value = float(loss.detach())
        if not math.isfinite(value):
            where = f"{self.recipe.name}, step {self.step}" + f" ({role})" * (role != STUDENT)
            raise UsageError(
                f"{where}: the loss is {value}; try a smaller lr (is {self.recipe.lr})"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        optimizer.step()
        return {"loss": value, "grad_norm": float(norm), **scalars}

    def finish(self, final: Path) -> Path:
        if self.average is not None:
            with torch.no_grad():
                for parameter, average in zip(self.parameters, self.average, strict=True):
                    parameter.copy_(average)
        self.task.preview(self.out / f"preview-{self.step:06d}.png")
        return self.publish(final)

    def publish(self, folder: Path) -> Path:
        """Export the weights as they are, with their card: whole, or not at all."""
        beside = folder.with_name(f"{folder.name}.writing")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        figures = self.task.export(beside)
        facts = {
            "recipe": self.recipe.name, "identity": self.recipe.identity, "seed": self.recipe.seed,
            "steps": self.step, "images_seen": self.step * self.recipe.batch,
            "seconds": round(self.seconds, 1), "hardware": hardware(), "torch": torch.__version__,
            **self.task.cost(self.step), **figures,
        }  # fmt: skip
        (beside / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
        (beside / "README.md").write_text(model_card(facts))
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
        return folder


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Autocast to bf16 where asked. Attention by plain products there: on a CPU the fused kernel's
    backward pass in bf16 is slower than in fp32, the rest nearly twice as fast."""
    if name == "fp32":
        yield
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.autocast(device, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        yield


def schedule(recipe: Recipe, step: int) -> float:
    """The learning rate's factor at a step: linear warm-up, then constant or cosine to zero."""
    warm = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    if recipe.decay == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    return warm


def hardware() -> str:
    """What the training ran on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def model_card(facts: dict[str, Any]) -> str:
    """A model card in Markdown: how it was trained, then measured figures."""
    rows = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in facts.items())
    head = f"# {facts['recipe']}\n\nTrained by `python -m hypersd recipe={facts['recipe']}`."
    about = "Licence: Apache-2.0. Data: procedural scenes (hypersd/shapes)."
    return f"{head}\n{about}\n\n| | |\n|---|---|\n{rows}\n"
