"""The output of a training while it runs: progress line, train.jsonl, trackers, previews."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from accelerate import Accelerator
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hypersd import exports, picture_reader
from hypersd.console import console
from hypersd.recipe import Recipe
from hypersd.whole_files import written_whole

EVERY = 30.0  # seconds between plain lines, where there is no terminal to draw a bar on
TRACKED_WITH_FORMAT = "tensorboard"  # needs the memory layout of a picture


class Logbook:
    """A context in which a training writes; only the main process does, the others are silent."""

    def __init__(self, recipe: Recipe, out: Path, accelerator: Accelerator, step: int) -> None:
        self.recipe, self.accelerator = recipe, accelerator
        self.main: bool = accelerator.is_main_process
        self.bar = Progress(
            TextColumn(recipe.name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"), disable=not self.main,
            console=console(),
        )  # fmt: skip
        self.plain, self.said = self.main and not self.bar.console.is_terminal, time.monotonic()
        self.shown = self.bar.add_task("", total=recipe.steps, completed=step, rate="")
        self.path = out / exports.LOG
        if self.main:
            self.forget_after(step)
        accelerator.init_trackers(
            recipe.name, init_kwargs={"tensorboard": {"purge_step": step}} if step else {}
        )

    def __enter__(self) -> Logbook:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.bar.stop()
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps that are trained again: the process was killed before their
        checkpoint."""
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                kept += [line] if json.loads(line)["step"] <= step else []
            except (ValueError, KeyError, TypeError):  # the kill came while it was written
                continue
        with written_whole(self.path) as beside:
            beside.write_text("".join(kept), encoding="utf-8")

    def progress(self, step: int, rate: float, loss: float) -> None:
        """Move the bar, or say it in a line now and then: rate in updates per second, pictures per
        second beside it."""
        text = f"{rate:.2f} it/s {rate * self.recipe.batch:.0f} img/s loss {loss:.4g}"
        self.bar.update(self.shown, completed=step, rate=text)
        if self.plain and time.monotonic() - self.said > EVERY:
            self.said, left = time.monotonic(), (self.recipe.steps - step) / rate
            print(f"{self.recipe.name}: {step}/{self.recipe.steps} {text}, {left:.0f} s left",
                  flush=True)  # fmt: skip

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """A line of train.jsonl, and the trackers."""
        if self.main:
            with self.path.open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": step, **scalars}) + "\n")
        self.accelerator.log(dict(scalars), step=step)

    def picture(self, step: int, path: Path) -> None:
        """Send a written preview to the trackers that take pictures."""
        if not (self.main and path.is_file()):
            return
        pixels = picture_reader.read(path).pixels[None]
        for tracker in self.accelerator.trackers:
            if hasattr(tracker, "log_images"):
                form: dict[str, Any] = {}
                if tracker.name == TRACKED_WITH_FORMAT:
                    form["dataformats"] = "NHWC"
                tracker.log_images({"validation": pixels}, step=step, **form)
