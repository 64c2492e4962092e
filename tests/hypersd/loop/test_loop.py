"""The loop: a resume is exact, clipping clips, damage is noticed, bad recipes are one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from hypersd import card, checkpoint, logbook, loop
from hypersd import recipe as recipes
from hypersd.errors import UsageError
from hypersd.methods import METHODS, MethodRow
from hypersd.recipe import Recipe

RECIPE = Recipe(
    name="line", method="line", steps=12, batch=4, lr=0.05, warmup=3, decay="cosine",
    average=0.9, checkpoint_every=5,
)  # fmt: skip


class Line(loop.Task):
    """Fit y = 3x + 1 from noisy points.

    made: every one since a test began.  stop_at: the step before which all of them are stopped.
    """

    made: ClassVar[list[Line]] = []
    stop_at: ClassVar[int | None] = None

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.model = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
        self.modules = {"model": self.model}
        self.made.append(self)

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": self.model.parameters()}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        if step == self.stop_at:
            raise KeyboardInterrupt
        x = torch.randn(4, 1, generator=rng)
        y = 3 * x + 1 + 0.1 * torch.randn(4, 1, generator=rng)
        return (self.model(x) - y).square().mean(), {}

    def after_step(self, step: int) -> None:
        pass

    def preview(self, path: Path) -> None:
        pass

    def export(self, out: Path) -> dict[str, Any]:
        torch.save(self.model.state_dict(), out / "model.pt")
        return {"parameters": 25}


class Diverging(Line):
    """Its loss is not a number."""

    def loss(self, step: int, rng: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        return torch.tensor(float("nan"), requires_grad=True), {}


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    """All that were built of this test's recipes."""
    monkeypatch.setitem(METHODS, "line", MethodRow(f"{__name__}:Line", None))
    Line.made.clear()
    return Line.made


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model.pt", weights_only=True)


@contextmanager
def stopped_before(step: int) -> Iterator[None]:
    """Trainings that get so far are stopped."""
    Line.stop_at = step
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        Line.stop_at = None


def interrupted(tmp_path: Path, at: int) -> Path:
    """A training that is stopped before step `at` and then started again."""
    with stopped_before(at):
        loop.train(RECIPE, tmp_path / "stopped")
    return loop.train(RECIPE, tmp_path / "stopped")


@pytest.mark.parametrize("at", [2, 5, 7, 11])
def test_resumed_training_equals_uninterrupted_bit_for_bit(tmp_path, tasks, at):
    whole = weights(loop.train(RECIPE, tmp_path / "whole"))
    again = weights(interrupted(tmp_path, at))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_checkpoint_that_did_not_count_passes_is_refused(tmp_path, tasks):
    with stopped_before(7):
        loop.train(RECIPE, tmp_path)
    path = max(tmp_path.glob("*.pt"))
    found = torch.load(path, weights_only=True)
    del found["extra"]["passes"]
    torch.save(found, path)
    with pytest.raises(UsageError, match="of an older version"):
        loop.train(RECIPE, tmp_path)


def test_a_resumed_log_has_every_step_once(tmp_path, monkeypatch, tasks):
    """Stopped at 7 with a checkpoint of 5: steps 6 and 7 are trained, and logged, again."""
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    interrupted(tmp_path, 7)
    lines = (tmp_path / "stopped/train.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 13))


def test_without_a_terminal_progress_is_lines(tmp_path, monkeypatch, tasks, capsys):
    monkeypatch.setattr(logbook, "EVERY", -1.0)
    loop.train(RECIPE, tmp_path / "a")
    lines = [line for line in capsys.readouterr().out.splitlines() if "left" in line]
    assert len(lines) == 12
    assert re.fullmatch(r"line: 6/12 [\d.]+ it/s \d+ img/s loss [\d.e-]+, \d+ s left", lines[5])


def test_finished_training_is_not_trained_again(tmp_path, tasks):
    first = loop.train(RECIPE, tmp_path / "a")
    assert loop.train(RECIPE, tmp_path / "a") == first
    assert len(tasks) == 1
    with pytest.raises(UsageError, match=r"another training \(lr=0\.05 there, 0\.01 here\)"):
        loop.train(replace(RECIPE, lr=0.01), tmp_path / "a")
    (tmp_path / "a" / "recipe.yaml").unlink()  # older trainings have none
    with pytest.raises(UsageError, match="another recipe's training"):
        loop.train(replace(RECIPE, seed=1), tmp_path / "a")


def test_the_recipe_beside_a_training_trains_it_again(tmp_path, tasks):
    loop.train(RECIPE, tmp_path / "a")
    assert recipes.load(tmp_path / "a" / "recipe.yaml") == RECIPE


def test_checkpoint_of_another_recipe_is_refused(tmp_path, tasks):
    with stopped_before(7):
        loop.train(RECIPE, tmp_path / "a")
    with pytest.raises(UsageError, match="seed=0 there, 1 here"):
        loop.train(replace(RECIPE, seed=1), tmp_path / "a")


def test_damaged_checkpoint_is_passed_over_for_an_older(tmp_path, capsys):
    model = nn.Linear(2, 2)
    checkpoint.save(tmp_path, 5, "x", {"m": model}, {})
    kept = (tmp_path / "checkpoint-5.pt").read_bytes()
    checkpoint.save(tmp_path, 10, "x", {"m": model}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-10.pt"]
    (tmp_path / "checkpoint-5.pt").write_bytes(kept)
    (tmp_path / "checkpoint-10.pt").write_bytes(kept[:100])
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found["step"] == 5
    assert "checkpoint-10.pt" in capsys.readouterr().out


def test_clipping_clips_and_logs_the_norm(tmp_path, tasks):
    recipe = replace(RECIPE, clip=1e-6, warmup=0, decay="constant", average=None)
    run = loop._Run(recipe, loop.build(recipe, torch.device("cpu")), tmp_path)
    scalars = run.update(torch.Generator().manual_seed(0))
    assert scalars["grad_norm"] > 0.1
    norms = [p.grad.norm() for p in run.parameters if p.grad is not None]
    assert float(torch.stack(norms).norm()) == pytest.approx(1e-6, rel=1e-3)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "line", MethodRow(f"{__name__}:Diverging", None))
    with pytest.raises(UsageError, match="step 0: the loss is nan"):
        loop.train(RECIPE, tmp_path / "a")


def test_schedule_warms_up_then_follows_the_cosine():
    factors = [loop.schedule(RECIPE, step) for step in range(12)]
    assert factors[0] == pytest.approx(1 / 3)
    assert factors[6] == pytest.approx(0.5)
    assert factors[11] < 0.05


def test_a_schedule_per_stage_gives_every_stage_the_same_rates():
    stages = [{"steps": 4}, {"steps": 8}]
    recipe = replace(RECIPE, warmup=0, decay="cosine_per_stage", stages=stages)
    factors = [loop.schedule(recipe, step) for step in range(12)]
    alone = [loop.schedule(replace(recipe, decay="cosine", steps=n), i)
             for n in (4, 8) for i in range(n)]  # fmt: skip
    assert factors == alone


def test_a_card_counts_what_a_training_began_with(tmp_path):
    facts = {"images_seen": 10, "unet_forwards": 40, "unet_backwards": 10, "seconds": 2.5}
    (tmp_path / "training.json").write_text(json.dumps({**facts, "images_seen_before": 5}))
    for key in ("onto", "init"):
        found = card.before(replace(RECIPE, options={key: str(tmp_path)}))
        assert found == {
            "images_seen_before": 15, "unet_forwards_before": 40, "unet_backwards_before": 10,
            "seconds_before": 2.5,
        }  # fmt: skip
    assert card.before(replace(RECIPE, options={"init": ""})) == {}
    assert card.before(replace(RECIPE, options={"init": str(tmp_path / "nowhere")})) == {}


def test_a_card_holds_the_recipe_that_trains_the_same_again(tmp_path, tasks):
    """Also what was given on the command line."""
    folder = loop.train(RECIPE, tmp_path / "a")
    text = (folder / "README.md").read_text()
    (tmp_path / "again.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    assert recipes.load(tmp_path / "again.yaml") == RECIPE


def test_hardware_is_named_by_its_model():
    """The gate compares seconds only where the hardware has the same name."""
    known = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    assert "model name" not in known or f": {card.cpu()}\n" in known
    assert card.hardware(2).startswith(f"2 x {card.cpu()}, ")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"steps": "many"}, "steps=many: must be a whole number >= 1"),
        ({"steps": 0}, "steps=0"),
        ({"lr": -1.0}, "lr=-1.0: must be a number > 0"),
        ({"data": 3}, "data=3: must be a mapping"),
        ({"stages": [3]}, "stages[0]=3: must be a mapping"),
        ({"prompts": [3]}, "prompts=3: must be a text"),
    ],
)
def test_bad_recipes_are_one_line(overrides, words):
    with pytest.raises(UsageError) as caught:
        recipes.load("shapes_vae", overrides)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_reads_values_as_a_file_does(capsys):
    from hypersd.__main__ import main
    from hypersd.plain_yaml import value

    assert (value("1e-4", "lr"), value("{a: [x, 2]}", "data")) == (1e-4, {"a": ["x", 2]})
    assert main(["recipe=shapes_lcm", "data={folder"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: data={folder: ") and said.count("\n") == 1


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'shapes_vae'"):
        recipes.load("shape_vae")


def test_every_shipped_recipe_reads():
    for name in recipes.names():
        assert recipes.load(name).images_seen > 0
