"""The command line: each mistake one line, exit code 2, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from bench.cli import main
from bench.study.material import Material

ROOT = Path(__file__).resolve().parents[2]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that is said."""
    assert main(["task=study", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "run=DIR is missing"),
        ("run={run} limit=3", "limit: does not go with task=study"),
        ("run={run} suite=shapes_1step", "suite: does not go with task=study"),
        ("run={run} port=70000", "port=70000"),
        ("run={run} votes=0", "votes=0"),
        ("run={run} simulate=no", "simulate=no"),
        ("run={run} token=short", "token=...: must have 8"),
        ("run={run} host=0.0.0.0", "only ask with a token"),
        ("run={run} host=nowhere.invalid token=12345678", "nowhere.invalid"),
        ("run={run} export=a simulate=3", "export= and simulate=: give one at a time"),
        ("run={run} import=nothing.json", "No such file"),
        ("run={run} export={run}", "is not empty"),
        ("run={run}/nowhere", "there is no such folder"),
    ],
)
def test_a_mistake_is_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    assert said in refused(capsys, *words.format(run=run).split())


def test_the_keys_of_a_study_go_with_it_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suite=shapes_1step", "port=1"]) == 2
    assert "port: goes with task=study" in capsys.readouterr().err


def test_a_run_without_pictures_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (run / "images").iterdir():
        if folder.name not in ("lcm-1step", "real"):
            folder.rename(run / folder.name)
    assert "pictures of two contestants" in refused(capsys, f"run={run}")


def test_an_unreadable_picture_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "images" / "tcd-1step" / "00003.png").write_bytes(b"no picture")
    assert "00003.png: is unreadable" in refused(capsys, f"run={run}", "simulate=1")


def test_a_contestant_does_not_lead_out_of_the_run(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = json.loads((run / "result.json").read_text())
    data["contestants"][0]["name"] = "../../elsewhere"
    del data["sha256"]
    (run / "result.json").write_text(json.dumps(data))
    assert "'../../elsewhere' is no name of a contestant" in refused(capsys, f"run={run}")


def test_a_damaged_prompt_file_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "prompts.jsonl").write_text("{")
    assert "prompts.jsonl is damaged" in refused(capsys, f"run={run}")


def test_a_damaged_database_is_refused_by_the_report_too(
    run: Path, material: Material, capsys: pytest.CaptureFixture[str]
) -> None:
    material.database.parent.mkdir()
    material.database.write_bytes(b"no database at all" * 400)
    assert "is damaged" in refused(capsys, f"run={run}")
    assert main(["task=report", f"run={run}"]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert material.database.read_bytes() == b"no database at all" * 400


def test_a_port_in_use_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port={port}" in refused(capsys, f"run={run}", f"port={port}")


def test_other_pictures_than_those_voted_on_are_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["task=study", f"run={run}", "simulate=1", "votes=1"]) == 0
    source = run / "images" / "real" / "00000.png"
    (run / "images" / "tcd-1step" / "00000.png").write_bytes(source.read_bytes())
    assert "other pictures" in refused(capsys, f"run={run}")


def test_the_report_of_a_run_has_its_votes_in_all_forms(run: Path) -> None:
    assert main(["task=study", f"run={run}", "simulate=2", "votes=6"]) == 0
    assert main(["task=report", f"run={run}"]) == 0
    lines = (run / "tables" / "votes_simulated.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 2 * 6 and not (run / "tables" / "votes.csv").exists()
    assert 'id="study"' in (run / "report.html").read_text(encoding="utf-8")
    assert (run / "report.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_server_says_where_it_is_and_ends_on_interrupt(run: Path) -> None:
    command = [sys.executable, str(ROOT / "bench.py"), "task=study", f"run={run}", "port=0"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background is deaf
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          cwd=run, preexec_fn=heard) as process:  # fmt: skip
        assert process.stdout is not None
        said = next(line for line in process.stdout if line.startswith("open "))
        request = urllib.request.Request(
            said.split()[1] + "rater", json.dumps({"name": "Ana"}).encode(),
            {"content-type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["done"] == 0
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
