"""`task=report`: again without generating, several runs together, and what users get wrong."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli import main
from bench.errors import UsageError
from bench.report import together, write
from bench.results import summary as summaries
from bench.results.entries import Entry, read_entry, write_entry
from bench.results.run_folder import RunFolder
from bench.results.summary import Summary
from hypersd.whole_files import BEGUN


@pytest.fixture
def run(made_up: tuple[Path, Summary], tmp_path: Path) -> Path:
    """A copy of the made-up run that a test may change."""
    return Path(shutil.copytree(made_up[0], tmp_path / "one"))


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Summary, Path]]:
    """Rendering is left out; what would be rendered is collected."""
    seen: list[tuple[Summary, Path]] = []

    def render(found: Summary, out: Path, files: Any = None) -> write.Written:
        seen.append((found, out))
        return write.Written(out / "report.html", out / "report.pdf", [out / "tables/x"], {})

    monkeypatch.setattr(write, "render", render)
    return seen


def one_line(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command line says on standard error, which must be one line and exit code 2."""
    assert main(list(words)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    return said


def test_renders_again_from_the_folder_alone(run: Path) -> None:
    before = (run / "result.json").read_bytes()
    assert main(["task=report", f"run={run}"]) == 0
    assert (run / "result.json").read_bytes() == before
    assert (run / "report.html").stat().st_size < 15_000_000
    assert (run / "report.pdf").read_bytes().startswith(b"%PDF")
    assert (run / "tables" / "results.tex").is_file()


def test_a_report_elsewhere_links_to_the_runs_pictures(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.report.pdf.render", lambda *_: tmp_path / "report.pdf")
    assert main(["task=report", f"run={run}", f"out={tmp_path / 'other'}"]) == 0
    page = (tmp_path / "other" / "report.html").read_text(encoding="utf-8")
    assert '"../one/images/lcm-1step"' in page
    assert not (run / "report.html").exists()


def test_an_unfinished_run_says_what_is_missing_and_what_finishes_it(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "result.json").unlink()
    (run / "scores" / "tcd-1step.safetensors").unlink()
    about = {"suite": "shapes_1step", "contestants": {"lcm-1step": "x", "tcd-1step": "y"},
             "limit": 16}  # fmt: skip
    (run / "run.json").write_text(json.dumps(about))
    said = one_line(capsys, "task=report", f"run={run}")
    assert "scores of tcd-1step are missing" in said
    assert f"python bench.py suite=shapes_1step limit=16 out={run}" in said
    about["command"] = "python bench.py suite=shapes_1step limit=16 seeds=[3]"
    (run / "run.json").write_text(json.dumps(about))
    assert "finish it with: python bench.py suite=shapes_1step limit=16 seeds=[3]" in one_line(
        capsys, "task=report", f"run={run}"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "damaged, not JSON"), ("[]", "not a result.json"), ('{"schema_version": 9}', "is 9")],
)
def test_a_damaged_result_is_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    (run / "result.json").write_text(text)
    assert words in one_line(capsys, "task=report", f"run={run}")


def test_no_run_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such folder" in one_line(capsys, "task=report", f"run={tmp_path / 'gone'}")
    assert "is not a run folder (no result.json, no run.json)" in one_line(
        capsys, "task=report", f"run={tmp_path}"
    )
    assert "two run folders or more" in one_line(capsys, "task=report", "runs=[a]")
    assert "goes with task=report" in one_line(capsys, "runs=[a,b]")


@pytest.mark.parametrize("name", ["report.html", "report.pdf"])
def test_a_full_disk_loses_nothing(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (run / name).write_bytes(b"the old one")
    before = (run / "result.json").read_bytes()
    text, data = Path.write_text, Path.write_bytes

    def full(path: Path, *rest: Any, **named: Any) -> int:
        if name in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return (text if isinstance(rest[0], str) else data)(path, *rest, **named)

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left on device" in one_line(capsys, "task=report", f"run={run}")
    assert (run / name).read_bytes() == b"the old one"
    assert (run / "result.json").read_bytes() == before
    assert not [p for p in run.iterdir() if p.name.endswith(BEGUN)]


def shifted(run: Path, copy: Path, by: float) -> Path:
    """A copy of the run whose tcd-1step is another network: `by` more hps on every prompt."""
    shutil.copytree(run, copy)
    path = copy / "scores" / "tcd-1step.safetensors"
    entry = read_entry(path)
    arrays = {**entry.arrays, "hps": entry.arrays["hps"] + by}
    write_entry(path, Entry(arrays, entry.record))
    found = summaries.read(copy)
    rows = []
    for row in found.contestants:
        if row.name == "tcd-1step":
            old = row.metrics["hps"]
            new = replace(old, value=old.value + by, low=old.low + by, high=old.high + by)
            row = replace(row, identity="another", metrics={**row.metrics, "hps": new})
        rows.append(row)
    summaries.write(replace(found, contestants=rows), copy / "result.json")
    return copy


def test_two_runs_of_one_protocol_are_one_comparison(
    run: Path, tmp_path: Path, fast: list[tuple[Summary, Path]]
) -> None:
    other = shifted(run, tmp_path / "two", 0.5)
    assert main(["task=report", f"runs=[{run},{other}]", f"out={tmp_path / 'both'}"]) == 0
    (merged, out) = fast[0]
    assert out == tmp_path / "both"
    assert summaries.read(out) == merged
    names = [c.name for c in merged.contestants]
    assert names.count("lcm-1step") == 1
    assert {"tcd-1step (one)", "tcd-1step (two)"} < set(names)
    assert len(names) == 9
    row = next(
        r for r in merged.comparisons
        if {r.a, r.b} == {"tcd-1step (one)", "tcd-1step (two)"} and r.metric == "hps"
    )  # fmt: skip
    assert abs(row.delta) == pytest.approx(0.5)
    assert row.p_adjusted < 0.05
    alone = summaries.read(run)
    before = next(
        r for r in alone.comparisons if (r.a, r.b, r.metric) == ("lcm-1step", "tscd-1step", "hps")
    )
    again = next(
        r for r in merged.comparisons if (r.a, r.b, r.metric) == ("lcm-1step", "tscd-1step", "hps")
    )
    assert again.delta == pytest.approx(before.delta)


def test_another_protocol_is_refused_with_what_differs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(run, tmp_path / "two"))
    found = summaries.read(other)
    rows = [replace(c, seeds=[1]) for c in found.contestants]
    rows = [
        replace(c, metrics={m: replace(v, identity="hps/2" if m == "hps" else v.identity)
                            for m, v in c.metrics.items() if m != "clip"})
        for c in rows
    ]  # fmt: skip
    summaries.write(replace(found, protocol="other", contestants=rows), other / "result.json")
    lines = (other / "prompts.jsonl").read_text().splitlines()
    (other / "prompts.jsonl").write_text("\n".join(lines[:30]) + "\n")
    said = one_line(capsys, "task=report", f"runs=[{run},{other}]")
    for expected in ("prompts: 40 and 30", "seeds: [0] and [1]", "clip: only in the first",
                     "hps: another network"):  # fmt: skip
        assert expected in said


def test_scores_that_are_gone_are_named(run: Path, tmp_path: Path) -> None:
    other = shifted(run, tmp_path / "two", 0.1)
    (other / "scores" / "tcd-1step.safetensors").unlink()
    with pytest.raises(UsageError, match=r"scores/tcd-1step\.safetensors is missing"):
        together.merge([(p, RunFolder(p).summary) for p in (run, other)], tmp_path / "both")


def test_runs_of_one_name_are_told_apart(run: Path, tmp_path: Path) -> None:
    other = shifted(run, tmp_path / "deep" / "one", 0.1)
    merged, files, _ = together.merge(
        [(p, RunFolder(p).summary) for p in (run, other)], tmp_path / "x"
    )
    names = [c.name for c in merged.contestants]
    assert {"tcd-1step (1: one)", "tcd-1step (2: one)"} < set(names)
    delta = files.difference("tcd-1step (2: one)", "tcd-1step (1: one)", "hps")
    assert delta is not None
    assert np.allclose(delta, 0.1)
