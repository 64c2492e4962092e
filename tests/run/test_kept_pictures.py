"""`pictures=all|shown|none`: the same scores, and of the pictures what was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench import cli
from bench.run import hardware, picture_bytes, plan, worker
from bench.run.hardware import Disk
from bench.run.options import PICTURES
from tests.support.judges import Judges, Patches
from tests.support.outcomes import images, metrics

Bench = Callable[..., int]
ROWS = ("lcm-1step", "lcm-2step", "real")  # of 30 pictures, in slices of 20 and 10


@pytest.fixture
def drawn(world: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each batch drew."""
    draw, counts = worker.draw_batch, list[int]()

    def counted(source: Any, keys: Any) -> Any:
        counts.append(len(keys))
        return draw(source, keys)

    monkeypatch.setattr(worker, "draw_batch", counted)
    return counts


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """result.json is all that runs come to."""
    monkeypatch.setattr("bench.report.write.write", lambda *_: None)


def files(run: Path) -> list[int]:
    return [len(list((run / "images" / row).glob("*.png"))) for row in ROWS]


def test_each_mode_has_the_same_scores_and_keeps_what_it_says(
    bench: Bench, world: Path, drawn: list[int]
) -> None:
    kept = {"all": (90, [30, 30, 30]), "shown": (60, [20, 20, 20]), "none": (0, [0, 0, 0])}
    for mode, (cached, shown) in kept.items():
        assert bench(f"pictures={mode}", f"cache=cache_{mode}", f"out={mode}") == 0
        assert (images(world / f"cache_{mode}"), files(world / mode)) == (cached, shown)
        assert metrics(world / mode) == metrics(world / "all")
        assert json.loads((world / mode / "run.json").read_text())["pictures"] == mode
    assert sum(drawn) == 3 * 90
    said = {mode: (world / mode / "report.html").read_text() for mode in kept}
    assert "with pictures=all draws" not in said["all"]
    assert "kept pictures of its first prompts alone (pictures=shown)" in said["shown"]
    assert "kept no pictures (pictures=none); its command with pictures=all" in said["none"]
    assert [(world / mode / "report.pdf").is_file() for mode in kept] == [True] * 3


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize("mode", PICTURES)
def test_the_same_command_makes_nothing_again(bench: Bench, drawn: list[int], mode: str) -> None:
    assert bench("out=run", f"pictures={mode}") == 0
    drawn.clear()
    assert bench("out=run", f"pictures={mode}") == 0
    assert drawn == []


@pytest.mark.usefixtures("unreported")
def test_another_metric_draws_again_what_was_not_kept(
    bench: Bench, world: Path, drawn: list[int], judges: Judges, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("out=run", "pictures=shown") == 0
    judges.extractor = Patches(parts=2, identity="patches/2")
    assert bench("out=again", "cache=fresh") == 0
    drawn.clear()
    capsys.readouterr()
    assert bench("out=run", "pictures=shown") == 0
    assert "30 images to make" in capsys.readouterr().out and sum(drawn) == 30
    assert images(world / "runs/cache") == 60
    assert metrics(world / "run") == metrics(world / "again")


@pytest.mark.usefixtures("unreported")
def test_a_cache_of_one_mode_serves_the_others(bench: Bench, world: Path, drawn: list[int]) -> None:
    assert bench("out=all") == 0
    drawn.clear()
    for mode in ("shown", "none"):
        assert bench(f"out={mode}", f"pictures={mode}") == 0
    assert (drawn, files(world / "shown"), files(world / "none")) == ([], [20] * 3, [0] * 3)


@pytest.mark.usefixtures("unreported")
def test_a_cache_without_pictures_serves_the_others(
    bench: Bench, world: Path, drawn: list[int]
) -> None:
    """Features of a whole slice are those of a part of it. `all` draws what a report needs."""
    assert bench("out=none", "pictures=none") == 0
    drawn.clear()
    assert bench("out=part", "pictures=none", "limit=25") == 0
    assert drawn == []
    assert bench("out=all") == 0
    assert sum(drawn) == 60 and metrics(world / "all") == metrics(world / "none")


@dataclass(frozen=True)
class Failing(Patches):
    """Fails on its first batch; stopped: as a user stops a run."""

    stopped: bool = False
    calls: list[int] = field(default_factory=list)

    def __call__(self, some: Any, prompts: Any) -> Any:
        self.calls.append(len(some))
        if len(self.calls) == 1:
            raise KeyboardInterrupt if self.stopped else RuntimeError("no such kernel")
        return super().__call__(some, prompts)


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize(("stopped", "code", "left"), [(False, 4, 0), (True, 130, 70)])
def test_what_could_not_be_scored_is_kept(
    bench: Bench, world: Path, drawn: list[int], judges: Judges,
    stopped: bool, code: int, left: int,
) -> None:  # fmt: skip
    judges.extractor = Failing(stopped=stopped)
    assert bench("out=run", "pictures=none") == code
    assert images(world / "runs/cache") == 20
    judges.extractor = Patches()
    drawn.clear()
    assert bench("out=run", "pictures=none") == 0
    assert sum(drawn) == left and files(world / "run") == [0] * 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pictures=shown", "random_weights=true"), "pictures=shown: this run has no metrics"),
        (("pictures=some",), "pictures=some: did you mean"),
        (("pictures=https://x.example",), "(an address goes with task=check)"),
        (("pictures=",), "pictures="),
    ],
)
def test_what_is_refused(
    bench: Bench, world: Path, words: tuple[str, ...], said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert bench("out=run", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and not (world / "run").exists()


@pytest.mark.usefixtures("unreported")
def test_a_study_says_why_it_has_no_pictures(
    bench: Bench, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("out=run", "pictures=none") == 0
    assert bench("task=study", "run=run") == 2
    assert "The run kept no pictures (pictures=none)" in capsys.readouterr().err
    assert bench("out=run", "pictures=shown") == 0
    assert bench("task=study", "run=run", "export=copy") == 0
    assert "note: The run kept pictures of its first prompts" in capsys.readouterr().out


def test_under_a_check_three_words_are_the_runs(world: Path) -> None:
    def read(value: str) -> tuple[str, str | None]:
        words = ("suite=tiny.yaml", "task=check", "baseline=./b", f"pictures={value}")
        found = cli.read(list(words))
        assert found.check is not None
        return found.options.pictures, found.check.pictures

    assert [read(mode) for mode in PICTURES] == [(mode, None) for mode in PICTURES]
    assert read("https://x.example/none") == ("all", "https://x.example/none")


def test_a_plan_prices_the_mode_and_names_a_cheaper_one(world: Path) -> None:
    found = cli.read(["suite=tiny.yaml"])
    assert found.suite is not None
    made = plan.make(found.suite, found.options)
    sizes = [picture_bytes.together(made.suite, made.rows, mode) for mode in PICTURES]
    assert sizes[1] == pytest.approx(2 / 3 * sizes[0], abs=2) and sizes[0] > sizes[2] == 0
    saving = picture_bytes.saving(made.suite, made.rows, "all")
    assert saving.startswith("pictures=shown takes ") and saving.endswith(" GB less")
    assert picture_bytes.saving(made.suite, made.rows, "none") == ""
    machine = hardware.Machine(free=lambda path: 10)
    disk = Disk(world, 20, "cache=DIR", "pictures=shown takes 9 GB less")
    missing = hardware.fit(machine, found.suite.contestants, "cpu", 64, 1, [disk]).missing
    (line,) = [said for said in missing if said.startswith("disk")]
    assert line.endswith("cache=DIR names another place, pictures=shown takes 9 GB less, limit=N "
                         "is a part")  # fmt: skip
