"""`decide=true`: as many prompts as it takes, against made-up runs of known difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.check.cut import cut
from bench.check.decide import decide
from bench.check.looks import Looks, planned
from bench.check.markdown import Page
from bench.check.task import CheckOptions
from bench.errors import UsageError
from bench.results import summary
from bench.results.run_folder import RunFolder
from bench.statistics.result import results_of
from benchmarks import decide_errors
from tests.check.made_runs import JUDGES, Made, drawn, texts, write

MOST = 500
MARGINS = {"fid": 0.2, "clip": 3.0, "faithful": 0.15}
Pictures = Mapping[str, np.ndarray]


def distance(name: str, features: Mapping[str, np.ndarray], prompts: Any) -> Any:
    """As `bench.run.blocks` does, by the made-up judges."""
    metric = next(one for one in JUDGES if one.name == name)
    return metric.evaluate(features["net"], [""] * len(prompts), prompts)


@pytest.fixture
def decided(tmp_path: Path) -> Callable[..., tuple[Page, list[tuple[int, frozenset[str] | None]]]]:
    """(baseline's pictures, run's pictures) -> the check, and what was drawn for it."""

    def call(before: Pictures, after: Pictures, looks: Looks, margins: Any = MARGINS) -> Any:
        prompts, asked = texts(looks.prompts[-1]), []
        base = RunFolder(write(tmp_path / "base", Made(prompts, dict(before))), "baseline")

        def draw(count: int, names: frozenset[str] | None) -> Path:
            asked.append((count, names))
            chosen = {n: x[:count] for n, x in after.items() if names is None or n in names}
            return write(tmp_path / f"run-{count}", Made(prompts[:count], chosen, limit=count))

        page = decide(draw, base, CheckOptions("base", decide=True), {"margins": margins}, looks,
                      distance, tmp_path / "check", lambda said: None)  # fmt: skip
        return page, asked

    return call


def test_a_baseline_cut_short_is_the_baseline_of_fewer_prompts(tmp_path: Path) -> None:
    """Scores, distances, features and texts: as a run of these prompts alone has them."""
    prompts = texts(300)
    pictures = {"lcm-1step": drawn(prompts), "tcd-1step": drawn(prompts, seed=1)}
    whole = RunFolder(write(tmp_path / "whole", Made(prompts, pictures)), "baseline")
    some = {name: rows[:120] for name, rows in pictures.items()}
    fewer = RunFolder(write(tmp_path / "fewer", Made(prompts[:120], some)))
    found = cut(whole, fewer, distance)
    assert found.texts == fewer.texts
    for name in pictures:
        one, other = results_of(found, name), results_of(fewer, name)
        for metric in ("fid", "clip", "faithful"):
            assert one[metric].value == pytest.approx(other[metric].value)
            assert one[metric].by_prompt == pytest.approx(other[metric].by_prompt)
            assert one[metric].error == pytest.approx(other[metric].error)
        assert np.array_equal(found.features(name)["net"], fewer.features(name)["net"])


def test_the_same_pictures_pass_at_the_first_look(decided: Any) -> None:
    pictures = {"lcm-1step": drawn(texts(MOST))}
    page, asked = decided(pictures, pictures, planned(MOST))
    assert page.outcome == "pass" and asked == [(100, None)]
    assert all("the same pictures" in row.why for row in page.verdicts if row.subject == "fid")


def test_a_contestant_that_the_run_lacks_is_named_and_not_waited_for(decided: Any) -> None:
    pictures = {"lcm-1step": drawn(texts(MOST)), "tcd-1step": drawn(texts(MOST), seed=1)}
    page, asked = decided(pictures, {"lcm-1step": pictures["lcm-1step"]}, planned(MOST))
    assert asked == [(100, None)] and page.outcome == "inconclusive"
    (row,) = [v for v in page.verdicts if v.contestant == "tcd-1step"]
    assert row.subject == "contestant" and "in this run" in row.why


def test_only_what_is_open_is_drawn_on_until_it_is_decided(decided: Any) -> None:
    """One contestant is the same, one is drawn with other noise, one is far worse."""
    prompts = texts(MOST)
    before = {
        name: drawn(prompts, seed=i) for i, name in enumerate(("a-1step", "b-1step", "c-1step"))
    }
    after = {**before, "b-1step": drawn(prompts, seed=9),
             "c-1step": drawn(prompts, noise=0.5, seed=2)}  # fmt: skip
    page, asked = decided(before, after, planned(MOST))
    assert asked[0] == (100, None) and len(asked) > 1
    assert all(names == {"b-1step"} for _, names in asked[1:])
    by_name = {name: {v.outcome for v in page.verdicts if v.contestant == name} for name in before}
    assert by_name["a-1step"] == {"pass"} and "regress" in by_name["c-1step"]
    assert "regress" not in by_name["b-1step"]
    assert page.outcome == "regress"
    assert {one.contestant for one in page.worst} >= {"c-1step"}


def test_what_is_never_decided_is_inconclusive_after_all_prompts(decided: Any) -> None:
    prompts = texts(MOST)
    before, after = ({"a-1step": drawn(prompts, seed=seed)} for seed in (1, 2))
    clip = next(one for one in JUDGES if one.name == "clip")
    x, y = (clip.evaluate(one["a-1step"], prompts, range(MOST)) for one in (before, after))
    error = float(np.std(x.per_prompt - y.per_prompt) / MOST**0.5)
    margins = {"fid": 1e3, "faithful": 1e3, "clip": max(0.0, x.value - y.value) + error / 2}
    page, asked = decided(before, after, planned(MOST), margins)
    assert [count for count, _ in asked] == [100, 200, 300, 400, 500]
    assert page.outcome == "inconclusive"
    row = next(v for v in page.verdicts if v.outcome == "inconclusive")
    assert "500 prompts do not" in row.why and "looks better by 0" not in row.why


def test_looks_are_of_whole_slices() -> None:
    assert planned(2_000).prompts == (400, 800, 1_200, 1_600, 2_000)
    assert planned(450).prompts == (100, 200, 300, 400, 450)
    assert planned(60).prompts == (60,)
    with pytest.raises(UsageError, match="most=1"):
        planned(1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("decide=true", "run=runs/x"), "suite=NAME"),
        (("most=100", "suite=tiny.yaml"), "goes with decide=true"),
        (("decide=true", "update=true", "suite=tiny.yaml"), "leave update out"),
        (("decide=true", "check=training", "suite=tiny.yaml"), "check=weights"),
    ],
)
def test_words_that_do_not_go_together(
    bench: Callable[..., int], words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("task=check", "baseline=./base", *words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_whole_command(bench: Callable[..., int], world: Path, capsys: Any) -> None:
    """Tiny models, slices of 20: unchanged weights are decided by the first 20 of 30 prompts."""
    assert bench("out=run") == 0
    assert bench("task=check", "run=run", "baseline=./base", "update=true") == 0
    capsys.readouterr()
    words = ("suite=tiny.yaml", "task=check", "baseline=./base", "decide=true", "out=gate")
    assert bench(*words, "cache=fresh") == 0
    said = capsys.readouterr().out
    assert "decide: looks at 20, 30 prompts" in said
    assert "at most: 90 images to make" in said and "the first: 60 images to make" in said
    assert "look 1 of 2, 20 prompts" in said and "look 2" not in said
    assert summary.read(world / "gate/prompts-20").limit == 20
    assert (world / "gate/check/junit.xml").is_file()
    assert bench(*words, "most=31") == 2
    assert "has 30" in capsys.readouterr().err


@pytest.mark.slow
def test_errors_of_the_gate_by_simulation() -> None:
    """As docs/check.md has them: false alarms and missed losses of twice the margin below 5 %."""
    chosen = {"fid": 1.0, "clip": 1.0, "hps": 1.0, "faithful": 1.0}
    looks, runs = planned(500), 1_000
    deviations = dict.fromkeys(chosen, 500**0.5 / 4.5)  # the margin is 4.5 errors at the last look
    outcomes = {}
    for loss in (0.0, 1.0, 2.0):
        rng = np.random.default_rng(round(10 * loss))
        losses = {name: loss * (name == "clip") for name in chosen}
        ended = [decide_errors.judge(
            decide_errors.scores(deviations, chosen, losses, looks, rng), looks)
            for _ in range(runs)]  # fmt: skip
        outcomes[loss] = [one.outcome for one in ended]
    allowed = 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    assert outcomes[0.0].count("regress") <= allowed * runs
    assert outcomes[1.0].count("pass") <= allowed * runs
    assert outcomes[2.0].count("regress") >= (1 - allowed) * runs
    assert outcomes[2.0].count("pass") == 0


def test_a_check_annotates_a_pull_request(
    made: Made, write_run: Callable[..., Path], check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub's commands: one line each, percent signs, colons and line ends escaped."""
    worse = replace(made, pictures={**made.pictures, "lcm-1step": drawn(made.prompts, noise=0.6)})
    base, run = write_run("base", made), write_run("run", worse)
    assert not any(line.startswith("::") for line in check(run, base)[1].splitlines())
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    code, said, _ = check(run, base)
    (line,) = [line for line in said.splitlines() if line.startswith("::error")]
    assert code == 1 and line.startswith("::error title=lcm-1step%3A regress::")
    assert "clip: worse by" in line and "\n" not in line
