"""Writing a baseline, and folders that are not what they should be: one line, exit code 2."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.check import baseline
from tests.check.made_runs import Made, drawn

Check = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]


def refused(done: tuple[int, str, str], *said: str) -> None:
    code, _, error = done
    assert code == 2, done
    assert error.startswith("error: ") and error.count("\n") == 1, error
    for words in said:
        assert words in error


def test_update_writes_what_a_check_reads_and_the_check_passes(
    made: Made, write_run: Write, check: Check, tmp_path: Path
) -> None:
    run, target = write_run("run", made), tmp_path / "baselines" / "main"
    code, said, _ = check(run, target, "update=true")
    assert code == 0 and str(target) in said
    there = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
    assert there >= {"baseline.json", "result.json", "run.json", "prompts.jsonl",
                     "scores/lcm-1step.safetensors", "features/lcm-1step.safetensors",
                     "images/lcm-1step/00000.webp"}  # fmt: skip
    assert check(run, target)[0] == 0
    assert [p.name for p in target.parent.iterdir()] == ["main"]


def test_a_named_baseline_lies_in_the_working_folder(
    made: Made, write_run: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from bench.cli import main

    monkeypatch.setattr(baseline, "FOLDER", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    run = write_run("run", made)
    words = ["task=check", f"run={run}"]
    assert main([*words, "baseline=main", "update=true"]) == 0
    assert (tmp_path / "reports/baselines/main/result.json").is_file()
    assert not (tmp_path / "shipped").exists()
    assert main([*words, "baseline=main"]) == 0
    assert main([*words, "baseline=mian"]) == 2
    assert "did you mean 'main'?" in capsys.readouterr().err
    assert main([*words, "baseline=a b", "update=true"]) == 2
    assert main(words) == 2
    assert "baseline=NAME is missing; there are main" in capsys.readouterr().err


def test_updating_says_what_changes_and_replaces_the_whole(
    made: Made, write_run: Write, check: Check, tmp_path: Path
) -> None:
    target = tmp_path / "main"
    check(write_run("old", made), target, "update=true")
    worse = {"lcm-1step": drawn(made.prompts, noise=0.4)}
    run = write_run("new", made, pictures=worse)
    code, said, _ = check(run, target, "update=true")
    assert code == 0 and "regress: tiny against main" in said
    assert not (target / "scores/tcd-1step.safetensors").exists()
    assert check(run, target)[0] == 0


def test_a_folder_of_something_else_is_never_replaced(
    made: Made, write_run: Write, check: Check, tmp_path: Path
) -> None:
    run = write_run("run", made)
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.tex").write_text("words")
    refused(check(run, precious, "update=true"), "is not a baseline; nothing was replaced")
    assert (precious / "chapter.tex").read_text() == "words"
    refused(check(run, run, "update=true"), "is not a baseline; nothing was replaced")


def test_a_disk_that_is_full_leaves_the_old_baseline(
    made: Made, write_run: Write, check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, run = tmp_path / "main", write_run("run", made)
    check(run, target, "update=true")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.check.baseline.shutil.copyfile", full)
    refused(check(run, target, "update=true"), "No space left on device")
    monkeypatch.undo()
    assert check(run, target)[0] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["main", "run"]


def test_a_disk_that_is_full_while_the_check_is_written(
    made: Made, write_run: Write, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, run = write_run("base", made), write_run("run", made)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(check(run, base), "No space left on device")
    assert (run / "result.json").is_file()
    assert list((run / "check").iterdir()) == []


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("result.json", "has no result.json"),
        ("run.json", "run.json is missing"),
        ("prompts.jsonl", "prompts.jsonl is missing"),
        ("scores/lcm-1step.safetensors", "scores/lcm-1step.safetensors is missing"),
    ],
)
def test_an_incomplete_folder_says_what_it_lacks_and_what_mends_it(
    made: Made, write_run: Write, check: Check, lost: str, said: str
) -> None:
    base, run = write_run("base", made), write_run("run", made)
    (run / lost).unlink()
    mended = "python bench.py suite="
    refused(check(run, base), f"run={run}: ", said, mended)
    run = write_run("again", made)
    (base / lost).unlink()
    refused(check(run, base), f"baseline={base}: ", said, "update=true")


@pytest.mark.parametrize(
    "file", ["result.json", "run.json", "prompts.jsonl", "scores/lcm-1step.safetensors"]
)
def test_a_damaged_file_is_named(made: Made, write_run: Write, check: Check, file: str) -> None:
    base, run = write_run("base", made), write_run("run", made)
    content = (base / file).read_bytes()
    (base / file).write_bytes(content[: len(content) // 2])
    refused(check(run, base), file.split("/")[-1])


def test_missing_folders_are_named(made: Made, write_run: Write, check: Check) -> None:
    run = write_run("run", made)
    refused(check(run, run.parent / "none"), "no such folder", "update=true")
    refused(check(run.parent / "none", run), "no such folder", "python bench.py suite=")


def test_another_protocol_is_refused_with_what_differs(
    made: Made, write_run: Write, check: Check
) -> None:
    run = write_run("run", made)
    fewer = made.prompts[:200]
    pictures = {name: p[:200] for name, p in made.pictures.items()}
    base = write_run("fewer", made, prompts=fewer, pictures=pictures, protocol="x", limit=200)
    refused(check(run, base), "of another protocol", "200 prompts -> 250 (limit= cuts")
    seeds = write_run("seeds", made, protocol="x", resolved={"seeds": [1], "size": 64})
    refused(check(run, seeds), "seeds [1] -> [0]")
    others = [f"other {text}" for text in made.prompts]
    pictures = {"lcm-1step": drawn(others)}
    base = write_run("others", made, prompts=others, pictures=pictures, protocol="x")
    refused(check(run, base), "other prompts, for instance")


def test_another_network_behind_a_metric_is_refused(
    made: Made, write_run: Write, check: Check
) -> None:
    run, base = write_run("run", made), write_run("base", made, protocol="x")
    path = base / "result.json"
    held = json.loads(path.read_text().replace("clip/1;cosine", "clip/2;cosine"))
    path.write_text(json.dumps({**held, "sha256": None}))
    refused(check(run, base), "metric clip has changed")


def test_no_contestant_in_common_is_refused(made: Made, write_run: Write, check: Check) -> None:
    base = write_run("base", made)
    run = write_run("run", made, pictures={"mine-1step": drawn(made.prompts)})
    refused(check(run, base), "no contestant of this run; it has lcm-1step, tcd-1step")


def test_keys_of_a_check_elsewhere_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from bench.cli import main

    for words in (["baseline=main"], ["update=true"], ["pictures=https://x.example"]):
        assert main(["suite=shapes_check", *words]) == 2
        assert "goes with task=check" in capsys.readouterr().err
    assert main(["task=check", "run=x", "baseline=./y", "update=maybe"]) == 2


def test_margins_on_the_command_line_need_the_suite(
    made: Made, write_run: Write, check: Check, tmp_path: Path
) -> None:
    run, base = write_run("run", made), write_run("base", made)
    refused(check(run, base, "margins.clip=0.5"), "margins=...: is a key of a suite")
    suite = tmp_path / "tiny.yaml"
    suite.write_text("title: T\nversion: 1\nsteps: [1]\nprompts: {set: shapes/test, n: 9}\n"
                     "metrics: [clip]\ncontestants: {lcm: {}}\n")  # fmt: skip
    worse = {**made.pictures, "lcm-1step": drawn(made.prompts, noise=0.26)}
    run = write_run("worse", made, pictures=worse)
    strict, loose = "margins.clip=0.01", ("margins.clip=50", "margins.fid=900%")
    assert check(run, base, f"suite={suite}", strict)[0] == 1
    assert check(run, base, f"suite={suite}", *loose, "margins.faithful=0.9")[0] == 0


def test_any_finished_run_is_a_baseline(made: Made, write_run: Write, check: Check) -> None:
    run = write_run("run", made)
    shutil.copytree(run, run.parent / "copy")
    assert check(run, run.parent / "copy")[0] == 0
