"""The training loop, one for everything that is trained here, on one process or many.

A step is a function of (weights, seed, step): all randomness comes from a generator that is
re-seeded at every step, so a resumed training equals an uninterrupted one by construction, and any
number of processes or parts of a batch gives the same step but for rounding.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hypersd import checkpoint, exports, inputs, memory, recipe_file
from hypersd.average import WeightAverage
from hypersd.best import FOLDER as BEST
from hypersd.best import Best
from hypersd.card import hardware, publish
from hypersd.errors import UsageError, brief, nearest
from hypersd.logbook import Logbook
from hypersd.precision import resolved
from hypersd.processes import (
    agreed,
    average_gradients,
    mean_of,
    mean_scalars,
    mean_value,
    shares,
    start,
    total_counts,
)
from hypersd.quiet import heard
from hypersd.recipe import Recipe
from hypersd.task import STUDENT, Task
from hypersd.whole_files import claimed

__all__ = ["STUDENT", "Task", "build", "hardware", "schedule", "train"]

LOG_EVERY = 20
RESUME = ("auto", "never")


def build(recipe: Recipe, device: torch.device) -> Task:
    """The task of a recipe's method. Raises UsageError for an unknown method."""
    from hypersd.methods import METHODS

    if recipe.method not in METHODS:
        valid = nearest(recipe.method, METHODS)
        raise UsageError(f"recipe {recipe.name}: no method {recipe.method!r}; {valid}")
    try:
        task: Task = resolve_name(METHODS[recipe.method].build)(recipe, device)
        return task
    except RuntimeError as error:
        if not memory.lacking(error):
            raise
        raise UsageError(f"recipe {recipe.name}: the networks alone do not fit on {device}; valid: "
                         "base_precision=bf16, or a device with more memory") from None  # fmt: skip


def train(recipe: Recipe, out: Path, *, device: str = "cpu", resume: str = "auto") -> Path:
    """Train a recipe in `out`, from its newest whole checkpoint on, and export to `out/final`.

    Writes recipe.yaml (the whole recipe), train.jsonl (one line per logged step), preview PNGs,
    tracker events, checkpoints, and `final` with the weights and a model card, `best` where the
    recipe asks for it. A training that is done returns at once.
    resume: "auto", or "never" where a checkpoint is an error.
    Raises UsageError where `out` holds another recipe's training, is another's at work or cannot be
    written, a loss is not finite, or memory does not suffice.
    """
    final = out / exports.FINAL
    if resume not in RESUME:
        raise UsageError(f"resume={resume!r}; {nearest(resume, RESUME)}")
    fault = exports.damage(final)
    if fault is None:
        _same_training(final / exports.FACTS, recipe)
        return final
    if final.exists():
        print(f"{final}: {fault}; made again from the newest checkpoint", flush=True)
    try:
        out.mkdir(parents=True, exist_ok=True)
        accelerator = start(device, out / "events", recipe.trackers)
        with claimed(out) if accelerator.is_main_process else nullcontext():
            torch.manual_seed(recipe.seed)
            with heard() as words:
                task = build(recipe, accelerator.device)
            for line in words:
                accelerator.print(f"warning: {line}", flush=True)
            run = _Run(recipe, task, out, accelerator)
            run.resume(resume)
            if accelerator.is_main_process:
                recipe_file.write(out, recipe)
            run.go()
            return run.finish(final)
    except (OSError, SafetensorError) as error:  # a full disk, a folder that is gone
        raise UsageError(f"{out}: {brief(error)}; the same command goes on from the newest "
                         "checkpoint") from error  # fmt: skip


def _same_training(path: Path, recipe: Recipe) -> None:
    found = json.loads(path.read_bytes())
    if found["identity"] != recipe.identity:
        raise recipe_file.another(path.parent.parent, recipe)
    inputs.check(path.parent.parent, recipe, found.get("read", {}))


class _Run:
    """One training in one folder: optimizers, average, log and clock."""

    def __init__(
        self, recipe: Recipe, task: Task, out: Path, accelerator: Accelerator | None = None
    ) -> None:
        self.recipe, self.task, self.out = recipe, task, out
        self.accelerator = accelerator or start("cpu", out)
        self.shares = shares(recipe, task, self.accelerator)
        roles: dict[str, list[dict[str, Any]]] = {}
        for group in task.groups():
            found = {"lr": recipe.lr, "role": STUDENT, **group, "params": list(group["params"])}
            roles.setdefault(found["role"], []).append(found | {"full_lr": found["lr"]})
        self.optimizers = {
            role: torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
            for role, groups in roles.items()
        }
        self.parameters: list[nn.Parameter] = self.of(STUDENT)
        self.average = WeightAverage(self.parameters, recipe.average) if recipe.average else None
        trained = [p for role in self.optimizers for p in self.of(role)]
        memory.check(recipe, trained, self.accelerator.device)
        self.step, self.seconds = 0, 0.0
        self.passes: Counter[str] = Counter()  # in the turns of this process
        self.outputs: dict[int, Any] = {}  # of the step's turns, by the first of their rows
        self.validation: dict[str, float] = {}
        self.precision = resolved(recipe.precision, self.accelerator.device)
        self.read = inputs.of(recipe, base=hasattr(task, "base"))
        self.best = Best(recipe.name, recipe.best) if recipe.best else None

    def of(self, role: str) -> list[nn.Parameter]:
        """A role's parameters."""
        return [p for group in self.optimizers[role].param_groups for p in group["params"]]

    def resume(self, how: str = "auto") -> None:
        found = checkpoint.newest(self.out)
        if found is None:
            return
        if found["identity"] != self.recipe.identity:
            raise recipe_file.another(self.out, self.recipe)
        if how == "never":
            raise UsageError(f"{self.out} holds checkpoints; resume=never wants another out=")
        extra = found["extra"]
        if "passes" not in extra:
            raise UsageError(
                f"{self.out}: its checkpoints are of an older version, which did not count passes; "
                "choose another out=, or remove it"
            )
        inputs.check(self.out, self.recipe, extra.get("read", {}))
        checkpoint.restore(self.task.modules, found)
        for role, optimizer in self.optimizers.items():
            optimizer.load_state_dict(extra["optimizers"][role])
        self.step, self.seconds = found["step"], extra["seconds"]
        self.precision = extra.get("precision", self.precision)
        if self.best is not None:
            self.best = Best(self.recipe.name, self.best.options, **extra["best"])
        if self.accelerator.is_main_process:  # the sum of all processes
            self.passes = Counter(extra["passes"])
        if self.average is not None:
            self.average.load(extra["average"])
        self.accelerator.print(f"resumed at step {self.step}", flush=True)

    def save(self) -> None:
        passes = total_counts(self.passes, self.accelerator)
        if not self.accelerator.is_main_process:
            return
        states = {role: optimizer.state_dict() for role, optimizer in self.optimizers.items()}
        extra: dict[str, Any] = {
            "optimizers": states, "seconds": self.seconds, "passes": dict(passes),
            "precision": self.precision, "read": self.read,
        }  # fmt: skip
        if self.best is not None:
            extra["best"] = self.best.state()
        if self.average is not None:
            extra["average"] = self.average.values
        modules = self.task.modules
        checkpoint.save(self.out, self.step, self.recipe.identity, modules, extra)

    def go(self) -> None:
        recipe, rng = self.recipe, torch.Generator()
        validate_every = recipe.validate_every or recipe.checkpoint_every
        with Logbook(recipe, self.out, self.accelerator, self.step) as log:
            while self.step < recipe.steps:
                began = time.perf_counter()
                rng.manual_seed(recipe.seed * 1_000_003 + self.step)
                scalars = self.update(rng)
                self.step += 1
                self.seconds += time.perf_counter() - began
                rate = self.step / self.seconds
                log.progress(self.step, rate, scalars["loss"])
                if self.step % LOG_EVERY == 0 or self.step == recipe.steps:
                    scalars |= {"it_per_s": rate, "images_per_s": rate * recipe.batch}
                    log.write(self.step, mean_scalars(scalars, self.accelerator))
                if kept := self.task.snapshot(self.step - 1):
                    with self.averaged():
                        self.publish(self.out / kept)
                if self.step == recipe.steps:
                    break
                if self.step % validate_every == 0 and self.ends_at_validation(log):
                    break
                if self.step % recipe.checkpoint_every == 0:
                    self.save()

    def ends_at_validation(self, log: Logbook) -> bool:
        """Validate; returns whether the training ends. A task that has been halted keeps its
        average as it is."""
        self.validate(log)
        halted = agreed(self.task.halted(), self.accelerator)
        if halted is not None:
            self.average = None
        why = halted or agreed(self.best.ended() if self.best else None, self.accelerator)
        if why is None:
            return False
        self.accelerator.print(f"ended at step {self.step}: {why}", flush=True)
        return True

    def validate(self, log: Logbook | None = None) -> None:
        """A preview picture and validation figures, by the main process; the best weights by them
        are exported, averages where there are any."""
        if self.best is None:
            self.preview(log)
            return
        with self.averaged():
            self.preview(log)
            main = self.accelerator.is_main_process
            # a task that has been halted has gone back to weights that these figures are not of
            gone_back = self.task.halted() is not None
            is_best = main and not gone_back and self.best.found(self.step, self.validation)
            if log is not None and main:
                log.write(self.step, {"best": self.best.value or 0.0, "best_step": self.best.step})
            if agreed("best" if is_best else None, self.accelerator):
                self.publish(self.out / BEST)

    def preview(self, log: Logbook | None) -> None:
        """The picture and the figures."""
        if not self.accelerator.is_main_process:
            return
        path = self.out / f"preview-{self.step:06d}.png"
        self.validation = dict(self.task.preview(path) or {})
        if log is not None:
            log.picture(self.step, path)
            if self.validation:
                named = {f"validation/{name}": v for name, v in self.validation.items()}
                log.write(self.step, named)

    def update(self, rng: torch.Generator) -> dict[str, float]:
        """One step: every role's turn in order. The student's scalars keep their names."""
        factor = schedule(self.recipe, self.step)
        scalars = {"lr_factor": factor}
        self.outputs, before = {}, Counter(self.task.passes())
        for role in self.task.turns(self.step):
            found = self.turn(role, factor, rng)
            mark = "" if role == STUDENT else f"{role}/"
            scalars |= {mark + name: value for name, value in found.items()}
        self.passes += Counter(self.task.passes()) - before
        if self.average is not None:
            self.average.update(self.step)
        self.task.after_step(self.step)
        return scalars

    def turn(self, role: str, factor: float, rng: torch.Generator) -> dict[str, float]:
        """One update of one role's parameters."""
        optimizer, parameters = self.optimizers[role], self.of(role)
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor
        optimizer.zero_grad(set_to_none=True)
        value, scalars = self.gradients(role, parameters, rng)
        value = mean_value(value, self.accelerator)
        if not math.isfinite(value):
            where = f"{self.recipe.name}, step {self.step}" + f" ({role})" * (role != STUDENT)
            raise UsageError(
                f"{where}: the loss is {value}; try a smaller lr (is {self.recipe.lr})"
            )
        average_gradients(parameters, self.accelerator)
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        optimizer.step()
        return {"loss": value, "grad_norm": float(norm), **scalars}

    def gradients(
        self, role: str, parameters: list[nn.Parameter], rng: torch.Generator
    ) -> tuple[float, dict[str, float]]:
        """Leave the gradient of this process's rows in the parameters, part by part; returns the
        mean loss and scalars. Every part sees the same draws."""
        state, count = rng.get_state(), len(self.shares)
        values, scalars = [], []
        for share in self.shares:
            rng.set_state(state)
            did = self.fitting(role, share, parameters, rng, count)
            if did is None:
                raise UsageError(self.what_fits(role, parameters, rng, state))
            values.append(did[0])
            scalars.append(did[1])
        return sum(values) / count, mean_of(scalars) if count > 1 else scalars[0]

    def fitting(
        self, role: str, share: slice, parameters: list[nn.Parameter], rng: torch.Generator,
        count: int,
    ) -> tuple[float, dict[str, float]] | None:  # fmt: skip
        """`part`, or None where memory does not suffice. The error is dropped first: its traceback
        holds all activations, and a smaller part needs their memory."""
        try:
            return self.part(role, share, parameters, rng, count)
        except RuntimeError as error:
            if not memory.lacking(error):
                raise
            return None

    def part(
        self, role: str, share: slice, parameters: list[nn.Parameter], rng: torch.Generator,
        count: int,
    ) -> tuple[float, dict[str, float]]:  # fmt: skip
        """Loss and gradient of some rows, one of `count` parts."""
        self.task.share = share
        name, device = self.precision, self.accelerator.device
        with attention(name, device):  # also where backward recomputes it
            with torch.autocast(device.type, torch.bfloat16, enabled=name == "bf16"):
                turn = self.task.turn_loss(role, self.step, rng, self.outputs.get(share.start))
            loss, scalars, outputs = turn
            if outputs is not None:
                self.outputs[share.start] = outputs
            value = float(loss.detach())
            if math.isfinite(value):  # nothing is learnt from another, and the turn says so
                loss = loss / count if count > 1 else loss
                inputs = [p for p in parameters if p.requires_grad]  # no other role's gradients
                loss.backward(inputs=inputs)  # type: ignore[no-untyped-call]
        return value, scalars

    def what_fits(
        self, role: str, parameters: list[nn.Parameter], rng: torch.Generator, state: Tensor
    ) -> str:
        """Try smaller parts of the batch, and name the largest that fits."""
        first = self.shares[0].start

        def attempt(rows: int) -> None:
            if not self.task.divides:
                raise torch.OutOfMemoryError
            for parameter in parameters:
                parameter.grad = None
            rng.set_state(state)
            self.part(role, slice(first, first + rows), parameters, rng, 1)

        return memory.what_fits(self.recipe, self.shares[0].stop - first, attempt)

    def finish(self, final: Path) -> Path:
        with self.averaged():
            self.validate()
            self.publish(final)
        self.accelerator.wait_for_everyone()
        return final

    def averaged(self) -> AbstractContextManager[None]:
        """Inside the block the parameters are their averages, if the recipe has an average."""
        return nullcontext() if self.average is None else self.average.applied()

    def publish(self, folder: Path) -> Path:
        """Export the weights as they are, with their card."""
        passes = total_counts(self.passes, self.accelerator)
        if self.accelerator.is_main_process:
            publish(
                folder, self.recipe, self.task, step=self.step, seconds=self.seconds,
                validation=self.validation, passes=passes,
                processes=self.accelerator.num_processes,
                run={"precision": self.precision, "read": self.read,
                     **(self.best.facts() if self.best else {})},
            )  # fmt: skip
        return folder


def attention(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Attention by plain products in bf16 on a CPU: the fused kernel's backward pass is slower
    there than in fp32, the rest nearly twice as fast."""
    if precision == "fp32" or device.type != "cpu":
        return nullcontext()
    return sdpa_kernel(SDPBackend.MATH)


def schedule(recipe: Recipe, step: int) -> float:
    """The learning rate's factor at a step: linear warm-up, then constant or cosine to zero, over
    the whole training or over each stage anew."""
    warm = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    if recipe.decay == "constant":
        return warm
    done = step / recipe.steps if recipe.decay == "cosine" else _share_of_stage(recipe, step)
    return warm * 0.5 * (1 + math.cos(math.pi * done))


def _share_of_stage(recipe: Recipe, step: int) -> float:
    """The share of a step's stage that is done."""
    begun = 0
    for stage in recipe.stages:
        if step < begun + stage["steps"]:
            return float((step - begun) / stage["steps"])
        begun += stage["steps"]
    return float(step / recipe.steps)
