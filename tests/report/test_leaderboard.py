"""Many runs on one page: who was measured when, how it changed, and what is another contestant."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.cli import main
from bench.report import leaderboard
from bench.results import summary as summaries
from bench.results.entries import Entry, read_entry, write_entry
from bench.results.summary import Summary
from tests.report import synthetic

Nights = list[Path]


def written(folder: Path, night: int, gain: float = 0.0, protocol: str = "p0") -> Path:
    """A made-up run of a night, in which hyper_sd-4step gained so much on `clip`, prompt by prompt,
    give or take."""
    found = synthetic.write(folder, 40)
    contestants = list(found.contestants)
    place = next(i for i, c in enumerate(contestants) if c.name == "hyper_sd-4step")
    one = contestants[place]
    clip = one.metrics["clip"]
    moved = replace(clip, value=clip.value + gain, low=clip.low + gain, high=clip.high + gain)
    name = f"{one.identity}-{'new' if gain else 'old'}"
    contestants[place] = replace(one, identity=name, metrics={**one.metrics, "clip": moved})
    path = folder / "scores" / f"{one.name}.safetensors"
    held = read_entry(path)
    wobble = np.random.default_rng(night).normal(scale=0.05, size=len(held.arrays["clip"]))
    wobble -= wobble.mean()
    write_entry(path, Entry({**held.arrays, "clip": held.arrays["clip"] + gain + wobble}, {}))
    day = {"time": f"2026-11-{night:02d}T02:00:00+00:00", "commit": f"{night:040d}"}
    made = replace(found, protocol=protocol, contestants=contestants, environment=day)
    summaries.write(made, folder / "result.json")
    return folder


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """Three nights, given out of order; hyper_sd-4step gained 1 in the last."""
    root = tmp_path_factory.mktemp("ci")
    return [written(root / f"n{n}", n, gain) for n, gain in ((3, 1.0), (1, 0.0), (2, 0.0))]


def read(runs: Nights) -> list[tuple[Path, Summary]]:
    return [(run, summaries.read(run)) for run in runs]


def test_a_history_is_in_the_order_of_time_and_its_change_is_paired(nights: Nights) -> None:
    [board] = leaderboard.boards(read(nights))
    assert [path.name for path, _ in board.runs] == ["n1", "n2", "n3"]
    lines = {line.name: line for _, lines in board.sections for line in lines}
    line = lines["hyper_sd-4step"]
    assert [entry.run.path.name for entry in line.entries] == ["n3", "n2", "n1"]
    assert line.identities == 2 and lines["tcd-4step"].identities == 1
    cell = line.cells[board.metrics.index("clip")]
    assert cell is not None and cell.change.startswith("+1.0")
    assert cell.is_certain and cell.is_better
    assert cell.figure.count('class="ring"') == 1 and cell.figure.count("<circle") == 3
    same = lines["tcd-4step"].cells[board.metrics.index("clip")]
    assert same is not None and not same.is_certain and "ring" not in same.figure


def test_contestants_are_ranked_on_the_first_metric(nights: Nights) -> None:
    [board] = leaderboard.boards(read(nights))
    metric = board.metrics[0]
    for _, lines in board.sections:
        values = [line.entries[0].contestant.metrics[metric].value for line in lines]
        assert values == sorted(values, reverse=board.higher[metric])


def test_the_change_stands_without_scores_but_is_not_certain(tmp_path: Path) -> None:
    runs = [written(tmp_path / f"n{n}", n, gain) for n, gain in ((1, 0.0), (2, 1.0))]
    (runs[0] / "scores/hyper_sd-4step.safetensors").unlink()
    [board] = leaderboard.boards(read(runs))
    [line] = [one for _, lines in board.sections for one in lines if one.name == "hyper_sd-4step"]
    cell = line.cells[board.metrics.index("clip")]
    assert cell is not None and cell.change.startswith("+1.0") and not cell.is_certain


def test_the_command_writes_one_offline_page_of_every_protocol(
    nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = written(nights[0].parent / "other", 9, protocol="p1")
    words = [f"runs=[{nights[0].parent}/*]", "leaderboard=true", f"out={tmp_path}"]
    assert main(["task=report", *words]) == 0
    assert capsys.readouterr().out == f"leaderboard: {tmp_path / 'leaderboard.html'}\n"
    page = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    assert "4 runs" in page and "2 protocols" in page
    assert page.index("protocol <code>p1</code>") < page.index("protocol <code>p0</code>")
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "<script" not in page
    assert not (tmp_path / "report.html").exists()
    (other / "result.json").unlink()
    assert bench.leaderboard(nights, tmp_path / "python").read_text().count("<section>") == 1


def test_texts_are_escaped(nights: Nights) -> None:
    evil = "<script>alert(1)</script>"
    (run, found), *others = read(nights)
    first, *rest = found.contestants
    made = replace(found, title=evil, contestants=[replace(first, name=evil), *rest])
    page = leaderboard.page([(run, made), *others])
    assert "<script" not in page and "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (lambda run: [f"run={run}", "leaderboard=true"], "goes with runs=[DIR,DIR]"),
        (lambda run: [f"runs=[{run}/no*]", "leaderboard=true"], "expected two run folders or more"),
        (lambda run: [f"runs=[{run},{run}x]", "leaderboard=true"], "there is no such folder"),
    ],
)
def test_mistakes_are_one_line(
    words: Callable[[Path], list[str]], said: str, nights: Nights,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(["task=report", *words(nights[0])]) == 2
    assert said in capsys.readouterr().err
