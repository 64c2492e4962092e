"""The benchmark in Python: the same keys, runs and refusals as the command line's."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

import bench
import hypersd
from bench.cli import main
from hypersd.__main__ import main as train_main

ROOT = Path(__file__).resolve().parents[1]
TWO = {"tcd": {"lora": "shapes/lcm", "like": "tcd", "steps": 2}}


@pytest.fixture
def run(world: Path) -> bench.Run:
    """The tiny suite at one step, with a contestant at two."""
    return bench.evaluate("tiny.yaml", quiet=True, steps=[1], contestants=TWO, out=world / "run")


def test_import_is_light_and_names_are_listed() -> None:
    probe = "import sys, bench, hypersd; print(len([m for m in ('torch', 'numpy', 'hydra', "
    probe += "'pydantic', 'rich') if m in sys.modules]), 'evaluate' in dir(bench))"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True,
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout.split() == ["0", "True"]
    for package in (bench, hypersd):
        assert all(inspect.getdoc(getattr(package, name)) for name in package.__all__)
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            package.nothing  # noqa: B018


def test_a_run_is_that_of_the_command_line(world: Path, run: bench.Run) -> None:
    words = ["steps=[1]", "+contestants.tcd.lora=shapes/lcm", "+contestants.tcd.like=tcd"]
    words += ["+contestants.tcd.steps=2", "out=typed"]
    assert main(["suite=tiny.yaml", *words]) == 0
    typed = bench.load("typed")
    assert typed.summary.protocol == run.summary.protocol
    assert [c.identity for c in typed.summary.contestants] == [
        c.identity for c in run.summary.contestants
    ]
    assert typed.summary.comparisons == run.summary.comparisons
    assert run.folder.about["command"].startswith("bench.evaluate('tiny.yaml', steps=[1], ")
    assert run.summary.environment["command"] == run.folder.about["command"]
    assert (run.path / "report.html").is_file() and (run.path / "report.pdf").is_file()


def test_quiet_says_nothing(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench.evaluate("tiny.yaml", quiet=True, limit=5, steps=1)
    assert capsys.readouterr().out == ""
    bench.evaluate("tiny.yaml", limit=5, steps=1)
    assert "report: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"limt": 3}, ["limt=3"]),
        ({"limit": 1}, ["limit=1"]),
        ({"steps": [0]}, ["steps=[0]"]),
        ({"seeds": [0, 0]}, ["seeds=[0,0]"]),
        ({"metrics": ["clop"]}, ["metrics=[clop]"]),
        ({"contestants": {"lcm": {"eta": 2}}}, ["contestants.lcm.eta=2"]),
        ({"contestants": {"lcm": {"like": "lmc"}}}, ["contestants.lcm.like=lmc"]),
        ({"prompts": {"set": "none.txt"}}, ["prompts.set=none.txt"]),
        ({"images": "nowhere"}, ["images=nowhere"]),
        ({"batch": "fast"}, ["batch=fast"]),
        ({"baseline": "x"}, ["baseline=x"]),
        ({"run": "x"}, ["run=x"]),
        ({"device": "tpu"}, ["device=tpu"]),
    ],
)
def test_refused_in_the_same_words(
    changes: dict[str, Any], words: list[str], world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["suite=tiny.yaml", *words]) == 2
    said = capsys.readouterr().err.removeprefix("error: ").rstrip("\n")
    with pytest.raises(bench.UsageError) as refused:
        bench.plan("tiny.yaml", **changes)
    assert str(refused.value) == said.replace(" task,", "")  # the one key that is no keyword


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: bench.evaluate("tini"), "no suite 'tini'"),
        (lambda: bench.plan("tiny.yaml", contestants={"lmc": {"eta": 0.5}}), "did you mean 'lcm'"),
        (lambda: bench.plan("tiny.yaml", contestants={"lmc": None}), "did you mean 'lcm'"),
        (lambda: bench.plan("tiny.yaml", seeds=object()), "seeds: is a object; valid: "),
        (lambda: bench.plan("tiny.yaml", out=3), "out=3: expected a path"),
        (lambda: bench.plan("tiny.yaml", task="check"), "unknown key 'task'"),
        (lambda: bench.load("nowhere"), "there is no such folder"),
        (lambda: hypersd.train("shapes_tcdd"), "did you mean 'shapes_tcd'"),
        (lambda: hypersd.train("shapes_tcd", resume="x"), "valid: auto, never"),
    ],
)
def test_a_mistake_is_one_line_of_ours(call: Callable[[], object], said: str, world: Path) -> None:
    with pytest.raises(bench.UsageError) as refused:
        call()
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert hypersd.UsageError is bench.UsageError


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: bench.metric("clop"), "no metric 'clop'; did you mean"),
        (lambda: bench.metric("clip", model="x"), "metrics.clip: no setting 'model'"),
        (lambda: bench.metric("perceptual_teacher"), "measured by a run alone"),
        (lambda: bench.metric("fid_patch"), "no metric 'fid_patch' on the world's networks"),
    ],
)
def test_a_metric_that_is_none_is_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(bench.UsageError, match=said):
        call()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stesp": 3}, ["stesp=3"]),
        ({"steps": 0}, ["steps=0"]),
        ({"options": {"guidance": "x"}}, ["options.guidance=x"]),
        ({"data": 5}, ["data=5"]),
    ],
)
def test_a_training_is_refused_in_the_same_words(
    changes: dict[str, Any], words: list[str], world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_main(["recipe=shapes_lcm", "out=t", *words]) == 2
    said = capsys.readouterr().err.removeprefix("error: ").rstrip("\n")
    with pytest.raises(hypersd.UsageError) as refused:
        hypersd.train("shapes_lcm", "t", **changes)
    assert str(refused.value) == said


def test_a_training_gives_what_a_run_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = {"set": "shapes/train", "n": 8}
    weights = hypersd.train(
        "shapes_lcm", "lcm", steps=2, batch=2, data=data, options={"guidance": 2.0}
    )
    assert weights == Path("lcm/final")
    assert (weights / "pytorch_lora_weights.safetensors").is_file()
    assert hypersd.train("shapes_lcm", "lcm", steps=2, batch=2, data=data,
                         options={"guidance": 2.0}) == weights  # fmt: skip
    planned = bench.plan("shapes_1step", contestants={"mine": {"lora": weights, "like": "lcm"}})
    assert planned.missing == [] and "mine-1step" in planned.plan.contestants


def test_contestants_are_changed_added_and_taken_away(world: Path) -> None:
    planned = bench.plan(
        "tiny.yaml",
        contestants={"lcm": {"eta": 0.5}, "real": None, "mine": {"lora": "shapes/lcm"}},
        **{"prompts.n": 7},
    )
    rows = {one.row.name: one.row.settings for one in planned.plan.rows}
    assert list(rows) == ["lcm-1step", "lcm-2step", "mine-1step", "mine-2step"]
    assert rows["lcm-1step"].sampling.eta == 0.5
    assert planned.images == 28 and planned.evaluations == 42
    assert "mine-2step" in repr(planned) and "mine-2step" in planned._repr_html_()
    assert list(planned.table().index) == list(rows)


def test_the_table_is_a_frame_of_what_the_result_holds(run: bench.Run) -> None:
    found = run.table()
    assert list(found.index) == ["lcm-1step", "tcd-2step", "real"]
    for contestant in run.summary.contestants:
        row = found.loc[contestant.name]
        for name, value in contestant.metrics.items():
            assert (row[name], row[f"{name}_low"], row[f"{name}_high"]) == (
                value.value, value.low, value.high,
            )  # fmt: skip
    assert found["steps"].isna().tolist() == [False, False, True]
    scores = run.scores("clip")
    assert scores.mean()["lcm-1step"] == pytest.approx(found.loc["lcm-1step", "clip"])
    with pytest.raises(bench.UsageError, match="no metric 'clop' in this run; did you mean"):
        run.scores("clop")


def test_without_pandas_the_table_is_ours(run: bench.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    framed = run.table()
    monkeypatch.setitem(sys.modules, "pandas", None)
    found = run.table()
    assert isinstance(found, bench.Table)
    assert found["contestant"] == list(framed.index)
    assert found["clip"] == framed["clip"].tolist()
    assert [row["steps"] for row in found] == [1, 2, None]
    assert found.to_csv().splitlines()[0].startswith("contestant,method,steps,n,fid,fid_low")
    assert len(repr(found).splitlines()) == len(found) + 1
    assert "<th>clip</th>" in found._repr_html_()


def test_two_contestants_of_other_steps_are_compared_by_a_paired_test(run: bench.Run) -> None:
    found = run.compare("lcm-1step", "tcd-2step")
    assert found.computed
    row, scores = found.of("clip"), run.scores("clip")
    a, b = scores["lcm-1step"], scores["tcd-2step"]
    assert row.delta == pytest.approx((a - b).mean(), abs=1e-9)
    assert row.win_rate == pytest.approx(((a > b) + 0.5 * (a == b)).mean())
    assert row.p == pytest.approx(ttest_rel(a, b).pvalue, abs=0.03)
    turned = run.compare("tcd-2step", "lcm-1step").of("clip")
    assert (turned.delta, turned.low, turned.high) == pytest.approx(
        (-row.delta, -row.high, -row.low), abs=0.02 * abs(row.high - row.low)
    )
    assert np.isfinite(found.table().loc["fid", "p"])
    assert "lcm-1step \u2212 tcd-2step" in found._repr_html_()


def test_a_pair_of_the_report_is_turned_as_asked(world: Path) -> None:
    run = bench.evaluate("tiny.yaml", quiet=True, steps=1,
                         contestants={"tcd": {"lora": "shapes/lcm", "like": "tcd"}})  # fmt: skip
    one, other = run.compare("lcm-1step", "tcd-1step"), run.compare("tcd-1step", "lcm-1step")
    assert tuple(one) == tuple(run.summary.comparisons) and not one.computed
    for a, b in zip(one, other, strict=True):
        assert (b.delta, b.low, b.high, b.p_adjusted) == (-a.delta, -a.high, -a.low, a.p_adjusted)
        assert (b.wins, b.losses) == (a.losses, a.wins)
        assert one.verdict(a) == other.verdict(b)


def test_pictures_and_report(run: bench.Run, world: Path) -> None:
    found = run.pictures("lcm-1step")
    assert len(found) == 30 and found[3].name == "00003.png"
    assert found.open(3).size == (64, 64)
    assert found._repr_html_().count("<img") == 12
    written = run.report(world / "again")
    assert written.page == world / "again/report.html" and written.document.is_file()
    with pytest.raises(bench.UsageError, match="no picture of prompt 99 was kept"):
        found.open(99)


def test_a_run_checks_against_another(run: bench.Run, capsys: pytest.CaptureFixture[str]) -> None:
    found = run.check(run.path, check="weights")
    assert found.passed and {row.subject for row in found.verdicts} >= {"fid", "clip"}
    assert (found.folder / "junit.xml").is_file()
    assert repr(found).startswith("pass (") and list(found.table()["outcome"])
    assert capsys.readouterr().out == ""
    with pytest.raises(bench.UsageError, match="did you mean 'check'"):
        run.check(run.path, chekc="weights")


def test_a_notebook_shows_a_table(run: bench.Run) -> None:
    shown = run._repr_html_()
    assert shown.count("<tr>") == 4 and "<b>" not in shown.split("real")[1]
    assert "CLIP" in shown and str(run.path) in shown
    assert "lcm-1step" in repr(run)
