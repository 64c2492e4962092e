"""Many processes and parts of a batch do one step; what does not fit or is not there is said."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import nn

from hypersd import loop, memory
from hypersd.errors import UsageError
from hypersd.logbook import Logbook
from hypersd.methods import METHODS, MethodRow
from hypersd.processes import average_gradients, mean_of
from hypersd.recipe import Recipe
from hypersd.task import Turn

RECIPE = Recipe(
    name="curve", method="curve", steps=6, batch=8, lr=0.02, clip=0.5, checkpoint_every=4,
    trackers=[],
)  # fmt: skip


class Curve(loop.Task):
    """Fit y = sin 3x, by rows; a second role fits the first one's errors."""

    divides = True

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe = recipe
        self.model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
        self.other = nn.Linear(1, 1)
        self.modules = {"model": self.model, "other": self.other}
        self.fits = recipe.batch
        self.verdict: str | None = None
        self.seen = 0

    def passes(self) -> dict[str, int]:
        return {"model_forwards": self.seen}

    def groups(self) -> list[dict[str, Any]]:
        other = {"role": "other", "params": self.other.parameters()}
        return [{"params": self.model.parameters()}, other]

    def turns(self, step: int) -> tuple[str, ...]:
        return ("other", "student")

    def turn_loss(self, role: str, step: int, rng: torch.Generator, outputs: Any = None) -> Turn:
        x = torch.randn(self.recipe.batch, 1, generator=rng)[self.share]
        if len(x) > self.fits:
            raise torch.OutOfMemoryError
        self.seen += len(x)
        error = self.model(x) - torch.sin(3 * x)
        if role == "other":
            error = self.other(x) - error.detach()
        return Turn(error.square().mean(), {"seen": float(len(x))})

    def preview(self, path: Path) -> dict[str, float]:
        return {"curvature": 1.5}

    def export(self, out: Path) -> dict[str, Any]:
        torch.save(self.model.state_dict(), out / "model.pt")
        return {}


@pytest.fixture(autouse=True)
def curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "curve", MethodRow(f"{__name__}:Curve", None))


@pytest.fixture
def fresh_state() -> Iterator[None]:
    """accelerate keeps one state per process; what a test has made of it goes."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    PartialState._reset_state()


def _one_of(rank: int, count: int, port: int, recipe: Recipe, out: Path) -> None:
    _forget()
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    loop.train(recipe, out)
    torch.distributed.destroy_process_group()


def together(count: int, recipe: Recipe, out: Path) -> list[dict[str, float]]:
    """The log of a training by several gloo processes."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=_one_of, args=(rank, count, port, recipe, out))
               for rank in range(count)]  # fmt: skip
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0] * count
    return log(out)


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]


def weights(folder: Path) -> torch.Tensor:
    state = torch.load(folder / "model.pt", weights_only=True)
    return torch.cat([value.flatten() for value in state.values()])


def test_two_processes_do_what_one_does_with_the_doubled_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_state: None
) -> None:
    """4 rows on each of two gloo processes against 8 on one: losses, norms and weights."""
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    loop.train(RECIPE, tmp_path / "one")
    alone, two = log(tmp_path / "one"), together(2, RECIPE, tmp_path / "two")
    assert len(alone) == len(two) == 7  # six steps and a validation
    for a, b in zip(alone, two, strict=True):
        for name in ("loss", "grad_norm", "other/loss", "other/grad_norm"):
            assert a.get(name, 1.0) == pytest.approx(b.get(name, 1.0), rel=1e-5)
    assert two[0]["seen"] == 4
    for name in ("one", "two"):  # both roles' turns in all of six steps
        facts = json.loads((tmp_path / name / "final/training.json").read_text())
        assert facts["model_forwards"] == 2 * 6 * 8
    torch.testing.assert_close(
        weights(tmp_path / "one/final"), weights(tmp_path / "two/final"), rtol=1e-5, atol=1e-6
    )


def test_two_processes_go_on_where_one_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_state: None
) -> None:
    loop.train(RECIPE, tmp_path / "whole")
    real = Curve.turn_loss

    def stop(self: Curve, role: str, step: int, *rest: Any) -> Any:
        if step == 5:
            raise KeyboardInterrupt
        return real(self, role, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Curve, "turn_loss", stop)
        with pytest.raises(KeyboardInterrupt):
            loop.train(RECIPE, tmp_path / "stopped")
    together(2, RECIPE, tmp_path / "stopped")
    torch.testing.assert_close(
        weights(tmp_path / "whole/final"), weights(tmp_path / "stopped/final"),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


def test_all_processes_end_where_the_main_one_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that one validates; the other would else wait for it at the next step."""

    def preview(self: Curve, path: Path) -> dict[str, float]:
        self.verdict = "enough"
        return {"curvature": 1.5}

    monkeypatch.setattr(Curve, "preview", preview)
    monkeypatch.setattr(Curve, "halted", lambda self: self.verdict)
    together(2, replace(RECIPE, validate_every=2), tmp_path)
    facts = json.loads((tmp_path / "final/training.json").read_text())
    assert facts["steps"] == 2 < RECIPE.steps


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_are_the_batchs_step(tmp_path: Path, parts: int) -> None:
    loop.train(RECIPE, tmp_path / "whole")
    loop.train(replace(RECIPE, accumulate=parts), tmp_path / "parts")
    torch.testing.assert_close(
        weights(tmp_path / "whole/final"), weights(tmp_path / "parts/final"), rtol=1e-5, atol=1e-6
    )


def test_a_turn_leaves_no_gradient_in_other_roles(tmp_path: Path) -> None:
    """The student's parameters are in the other's graph; only the other's get a gradient."""

    class Tied(Curve):
        def turn_loss(
            self, role: str, step: int, rng: torch.Generator, outputs: Any = None
        ) -> Turn:
            x = torch.randn(8, 1, generator=rng)
            return Turn((self.other(self.model(x)) - x).square().mean(), {})

    task = Tied(RECIPE, torch.device("cpu"))
    run = loop._Run(RECIPE, task, tmp_path)
    run.turn("other", 1.0, torch.Generator())
    assert all(p.grad is None for p in task.model.parameters())
    assert all(p.grad is not None for p in task.other.parameters())


def test_a_part_that_does_not_fit_is_told_what_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Curve(RECIPE, torch.device("cpu"))
    task.fits = 2
    with pytest.raises(UsageError, match=r"memory for 8 pictures at a time; 2 fit: accumulate=4"):
        loop._Run(RECIPE, task, tmp_path).update(torch.Generator())
    task.fits = 0
    with pytest.raises(UsageError, match="nor for one; valid: gradient_checkpointing=true"):
        loop._Run(RECIPE, task, tmp_path).update(torch.Generator())


def test_what_did_not_fit_is_gone_before_something_smaller_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a CPU, where torch has no kind of error for it."""
    held: list[weakref.ref[torch.Tensor]] = []
    real = Curve.turn_loss

    def turn_loss(self: Curve, role: str, step: int, rng: torch.Generator, *rest: Any) -> Any:
        assert all(one() is None for one in held)
        computed = torch.zeros(3)
        held.append(weakref.ref(computed))
        if self.share.stop - self.share.start > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(self, role, step, rng)

    monkeypatch.setattr(Curve, "turn_loss", turn_loss)
    with pytest.raises(UsageError, match="2 fit: accumulate=4"):
        loop.train(RECIPE, tmp_path)
    assert len(held) == 3


def test_an_optimizer_that_does_not_fit_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Curve(RECIPE, torch.device("cpu"))
    values = 16 + 16 + 16 + 1 + 2
    monkeypatch.setattr(memory, "free_bytes", lambda device: values * 12)
    loop._Run(RECIPE, task, tmp_path)
    monkeypatch.setattr(memory, "free_bytes", lambda device: values * 6)
    ranked = replace(RECIPE, options={"rank": 64})
    with pytest.raises(UsageError, match=r"options\.rank=32 would fit"):
        loop._Run(ranked, task, tmp_path)


def test_adamw_holds_what_was_foreseen(tmp_path: Path) -> None:
    task = Curve(RECIPE, torch.device("cpu"))
    run = loop._Run(RECIPE, task, tmp_path)
    run.update(torch.Generator())
    held = sum(
        value.numel() * value.element_size()
        for optimizer in run.optimizers.values()
        for state in optimizer.state.values()
        for name, value in state.items() if name != "step"
    )  # fmt: skip
    parameters = [p for role in run.optimizers for p in run.of(role)]
    held += sum(p.numel() * p.element_size() for p in parameters)  # a gradient each
    assert memory.training_bytes(parameters) == held


def test_averages_are_of_those_that_have_a_name() -> None:
    assert mean_of([{"a": 1.0, "b": 4.0}, {"a": 3.0}]) == {"a": 2.0, "b": 4.0}


def test_gradients_of_one_process_are_left_alone(fresh_state: None) -> None:
    from hypersd.processes import start

    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    average_gradients([parameter], start("cpu", Path("unused")))
    assert parameter.grad.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"accumulate": 3}, "batch=8 in 1 processes times accumulate=3; valid: a multiple of 3"),
        ({"trackers": ["tensorbord"]}, "did you mean 'tensorboard'"),
        ({"device": "tpu"}, "device='tpu'; .*valid: cpu, cuda, mps"),
        ({"trackers": ["comet_ml"]}, "'comet_ml' is not installed"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, changes: Any, says: str) -> None:
    device = changes.get("device", "cpu")
    changed = {key: value for key, value in changes.items() if key != "device"}
    with pytest.raises(UsageError, match=says):
        loop.train(replace(RECIPE, **changed), tmp_path, device=device)


def test_a_task_that_is_not_cut_up_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Curve, "divides", False)
    with pytest.raises(UsageError, match="method curve cannot split a batch"):
        loop.train(replace(RECIPE, accumulate=2), tmp_path)


def test_never_resuming_is_refused_where_there_is_something(tmp_path: Path) -> None:
    run = loop._Run(RECIPE, Curve(RECIPE, torch.device("cpu")), tmp_path)
    run.step = 4
    run.save()
    with pytest.raises(UsageError, match="wants another out="):
        loop.train(RECIPE, tmp_path, resume="never")
    with pytest.raises(UsageError, match="valid: auto, never"):
        loop.train(RECIPE, tmp_path, resume="maybe")


def test_tensorboard_holds_scalars_figures_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_state: None
) -> None:
    """Read back with TensorBoard's own reader."""
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def preview(self: Curve, path: Path) -> dict[str, float]:
        Image.new("RGB", (8, 6), (255, 0, 0)).save(path)
        return {"curvature": 1.5}

    monkeypatch.setattr(Curve, "preview", preview)
    loop.train(replace(RECIPE, trackers=["tensorboard"], validate_every=3), tmp_path)
    events = EventAccumulator(str(tmp_path / "events/curve"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("validation/curvature")] == [(3, 1.5)]
    assert events.Scalars("grad_norm")[0].step == 6
    (image,) = events.Images("validation")
    assert (image.step, image.width, image.height) == (3, 8, 6)
    facts = json.loads((tmp_path / "final/training.json").read_text())
    assert facts["curvature"] == 1.5


def test_every_tracker_gets_figures_and_pictures(tmp_path: Path) -> None:
    """Also the second one, which a return within the loop over trackers would leave out."""
    from PIL import Image

    class Tracker:
        name = "own"

        def __init__(self) -> None:
            self.seen: list[Any] = []

        def log_images(self, images: Any, step: int) -> None:
            self.seen.append((step, images["validation"].shape))

    trackers = [Tracker(), Tracker()]
    accelerator: Any = SimpleNamespace(
        is_main_process=True, trackers=trackers, init_trackers=lambda *given, **more: None
    )
    book = Logbook(RECIPE, tmp_path, accelerator, 0)
    Image.new("RGB", (8, 6)).save(tmp_path / "shown.png")
    book.picture(3, tmp_path / "shown.png")
    assert [tracker.seen for tracker in trackers] == [[(3, (1, 6, 8, 3))]] * 2
