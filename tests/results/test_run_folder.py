"""A run folder read back: refused with what mends it, or forgiven with a note, as one asks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.errors import UsageError
from bench.results import summary
from bench.results.entries import Entry, write_entry
from bench.results.run_folder import RunFolder
from bench.results.summary import Contestant, MetricValue, Summary
from bench.statistics.result import mean_result, results_of, to_arrays

RESULT = mean_result(np.array([1.0, 3.0, 2.0, 4.0]), [0, 0, 1, 2])
VALUE = MetricValue(RESULT.value, RESULT.low, RESULT.high, RESULT.n, "clip/1", True, "no",
                    RESULT.covers, error=RESULT.error)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """One contestant, scored on three prompts, with two pictures."""
    folder = tmp_path / "one"
    row = Contestant("lcm-1step", "lcm", 1, 1, "id", 4, [0], "MIT", metrics={"clip": VALUE})
    (folder / "images" / "lcm-1step").mkdir(parents=True)
    for name in ("00002.png", "00000.JPEG", "00001.txt", "cover.png", "٣.png"):
        (folder / "images" / "lcm-1step" / name).touch()
    summary.write(Summary("tiny", "protocol", {}, {}, [row]), folder / "result.json")
    about = {"suite": "tiny", "contestants": {"lcm-1step": "id"}, "resolved": {"size": 64}}
    (folder / "run.json").write_text(json.dumps(about))
    lines = [json.dumps({"index": i, "text": f"text {i}"}) for i in range(3)]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    entry = Entry(to_arrays({"clip": RESULT}), {"contestant": "lcm-1step"})
    write_entry(folder / "scores" / "lcm-1step.safetensors", entry)
    return RunFolder(folder)


def test_what_a_run_left_comes_back(run: RunFolder) -> None:
    assert run.checked().summary.contestant("lcm-1step").metrics == {"clip": VALUE}
    assert run.texts == {0: "text 0", 1: "text 1", 2: "text 2"}
    assert run.legible_texts() == (run.texts, [])
    assert run.resolved == {"size": 64}
    assert {i: path.name for i, path in run.pictures("lcm-1step").items()} == {
        0: "00000.JPEG", 2: "00002.png",
    }  # fmt: skip
    assert run.features("lcm-1step") == {} and run.pictures("tcd-1step") == {}
    found = results_of(run, "lcm-1step")["clip"]
    assert found.per_prompt is not None and RESULT.per_prompt is not None
    assert found.per_prompt.tolist() == RESULT.per_prompt.tolist()
    assert found.prompts.tolist() == [0, 1, 2]
    assert found.error == RESULT.error and found.influence is None


def test_damaged_prompts_are_refused_or_read_up_to_the_damage(run: RunFolder) -> None:
    path = run.path / "prompts.jsonl"
    path.write_text(path.read_text().replace('"text": "text 1"', '"te'))
    with pytest.raises(UsageError, match=r"run=.*prompts\.jsonl is damaged from line 2 on"):
        run.checked()
    assert run.legible_texts() == ({0: "text 0"}, ["prompts.jsonl is damaged from line 2 on"])
    path.write_bytes(b"\xff\xfe")
    assert run.legible_texts() == ({}, ["prompts.jsonl is not UTF-8"])
    path.unlink()
    assert run.legible_texts() == ({}, [])


def test_damaged_scores_are_refused_or_left_out(run: RunFolder) -> None:
    path = run.path / "scores" / "lcm-1step.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UsageError, match=r"not readable.*finish it with: python bench\.py"):
        run.scores("lcm-1step")
    arrays, notes = run.legible_scores("lcm-1step")
    assert arrays == {} and len(notes) == 1 and "was left out" in notes[0]
    path.unlink()
    with pytest.raises(UsageError, match=r"scores/lcm-1step\.safetensors is missing"):
        run.scores("lcm-1step")
    assert run.legible_scores("lcm-1step") == ({}, [])


def test_an_unfinished_run_says_what_is_missing_and_what_finishes_it(run: RunFolder) -> None:
    (run.path / "result.json").unlink()
    with pytest.raises(UsageError, match="the comparisons are missing") as raised:
        _ = run.summary
    assert str(raised.value).endswith(f"python bench.py suite=tiny out={run.path}")
    (run.path / "scores" / "lcm-1step.safetensors").unlink()
    about = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(about | {"command": "python bench.py x"}))
    with pytest.raises(UsageError, match=r"scores of lcm-1step are missing.*bench\.py x$"):
        _ = run.summary
    (run.path / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json is damaged"):
        _ = run.summary
    assert run.resolved == {}
    (run.path / "run.json").unlink()
    with pytest.raises(UsageError, match="is not a run folder"):
        _ = run.summary


def test_a_baseline_is_mended_by_writing_it_anew(run: RunFolder) -> None:
    for path, lack in ((run.path, "so it is no baseline"), (Path("none"), "no such folder")):
        (run.path / "result.json").unlink(missing_ok=True)
        with pytest.raises(UsageError, match=rf"baseline=.*{lack}.*update=true$"):
            RunFolder(path, "baseline").checked()
