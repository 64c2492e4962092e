"""The command line as a subprocess: every mistake is one line, exit code 2, no traceback."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bench import cli
from bench.check.task import CheckOptions
from bench.run import progress
from bench.run.options import RunOptions
from bench.study.task import StudyOptions

ROOT = Path(__file__).resolve().parents[1]
Completed = subprocess.CompletedProcess[str]
Call = Callable[..., Completed]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Runs bench.py with some words in an empty folder."""

    def run(*words: str) -> Completed:
        command = [sys.executable, str(ROOT / "bench.py"), *words]
        return subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "usage: python bench.py suite=NAME"),
        ("task=plan", "suite=NAME is missing"),
        ("suite=shapes_1stp", "did you mean 'shapes_1step'?"),
        ("suite=nowhere/mine.yaml", "no such file"),
        ("suite=shapes_1step stesp=[1]", "did you mean 'steps'?"),
        ("suite=shapes_1step foo", "'foo': expected key=value"),
        ("suite=shapes_1step --quick", "'--quick': expected key=value"),
        ("suite=shapes_1step prompts.m=4", "unknown key 'm' in prompts"),
        ("suite=shapes_1step prompts.n=many", "prompts.n=many: must be a whole number"),
        ("suite=shapes_1step steps=[0]", "steps=0: must be a whole number from 1 to 50"),
        ("suite=shapes_1step steps=51", "steps=51: must be a whole number from 1 to 50"),
        ("suite=shapes_1step steps=[1.5]", "steps=1.5: must be a whole number"),
        ("suite=shapes_1step steps=1,2", "lists need brackets"),
        ("suite=shapes_1step seeds=[]", "seeds=[]: must hold"),
        ("suite=shapes_1step metrics=[fdi]", "did you mean 'fid'?"),
        ("suite=shapes_1step metrics=[cmmd]", "is not measured on the shapes world; "),
        ("suite=sdxl_1step metrics=[faithful]", "faithful: is not measured on a published base; "),
        ("suite=shapes_1step margins.clip=wide", "margins.clip=wide: must be a number"),
        ("suite=shapes_1step task=rum", "did you mean 'run'?"),
        ("suite=shapes_1step task=[run]", "task=['run']: did you mean 'run'?"),
        (
            "suite=shapes_1step margins.clpi=1",
            "unknown key 'clpi' in margins; did you mean 'clip'?",
        ),
        ("suite=shapes_1step limits.seconds=2", "limits.seconds=2: must be a percentage"),
        ("suite=shapes_1step device=gpu", "did you mean 'cpu'?"),
        ("suite=shapes_1step limit=0", "limit=0"),
        ("suite=shapes_1step batch=0", "batch=0"),
        ("suite=shapes_1step batch=bets", "batch=bets: did you mean 'best'?"),
        ("suite=shapes_1step export=x limit=9", "leave limit out"),
        ("suite=shapes_1step precomputed=maybe", "must be true or false"),
        ("suite=shapes_1step contestants.lmc.eta=1", "did you mean 'lcm'?"),
        ("suite=shapes_1step ~contestants.rael", "did you mean 'real'?"),
        ("suite=shapes_1step contestants.lcm.loar=x", "did you mean 'lora'?"),
        ("suite=shapes_1step contestants.lcm.scheduler=ldm", "did you mean 'lcm'?"),
        ("suite=shapes_1step contestants.lcm.guidance=strong", "must be a number"),
        ("suite=shapes_1step contestants.lcm.steps=[50]", "cannot be cut from original_steps=40"),
        ("suite=shapes_1step contestants.lcm.unet=x", "has both 'lora' and 'unet'"),
        ("suite=shapes_1step +contestants.lcm.lora=x", "+contestants.NAME... adds one under"),
        ("suite=shapes_1step +contestants.lcm={lora:x}", "contestants.lcm={lora:x} changes it"),
        ("suite=shapes_1step contestants.real.eta=1", "is an anchor"),
        ("suite=shapes_1step +contestants.new.recipe=shapes_lcm_qick", "shapes_lcm_quick"),
        ("suite=shapes_1step prompts.set=shapes/tset", "did you mean 'shapes/test'?"),
        ("suite=shapes_1step prompts.set=missing.txt", "No such file"),
        ("suite=shapes_1step images=missing", "images=missing: no such folder"),
        ("suite=shapes_1step task=report out=missing", "run=missing: there is no such folder"),
        ("task=report run=missing", "run=missing: there is no such folder"),
        ("run=missing", "goes with task=report"),
        ("-m suite", "'suite': expected key=value"),
    ],
)
def test_a_mistake_is_one_line(call: Call, words: str, said: str) -> None:
    _refused(call(*words.split()), said)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "holds no prompt"), (b"\n \n", "holds no prompt"), (b"caf\xe9\n", "not UTF-8")],
)
def test_a_faulty_prompt_file_is_refused(
    call: Call, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "mine.txt").write_bytes(content)
    _refused(call("suite=shapes_1step", "prompts.set=mine.txt", "task=plan"), said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("steps: [1\n", "mine.yaml"),
        ("- 1\n", "must be a mapping"),
        ("title: x\nversion: 1\n", "'steps' is missing"),
        ("tilte: x\n", "did you mean 'title'?"),
        ("steps: ${nothing}\n", "nothing"),
    ],
)
def test_a_faulty_suite_file_is_refused(
    call: Call, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    _refused(call("suite=mine.yaml"), said)


def test_help_names_the_suites(call: Call) -> None:
    done = call("--help")
    assert done.returncode == 0 and "shapes_1to8" in done.stdout and "task=plan" in done.stdout


def test_the_package_is_the_same_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "suite=shapes_1stp"],
        cwd=tmp_path, check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    _refused(done, "did you mean 'shapes_1step'?")


def test_each_task_gets_its_own_options() -> None:
    run = cli.read(["suite=shapes_1step", "limit=10", "batch=best", "compile=true", "out=a=b"])
    assert run.options == RunOptions(limit=10, best_batch=True, compiled=True, out=Path("a=b"))
    assert run.suite is not None and run.suite.contestants[0].compiled
    assert (run.check, run.study) == (None, None)
    check = cli.read(["task=check", "run=x", "baseline=./y", "update=true"])
    assert check.check == CheckOptions("./y", update=True)
    assert (check.suite, check.finished) == (None, Path("x"))
    study = cli.read(["task=study", "run=x", "votes=7", "import=v.json"])
    assert study.study == StudyOptions(votes=7, imported=Path("v.json"))
    together = cli.read(["task=report", "runs=[a,b]", "out=c"])
    assert (together.together, together.options.out) == ((Path("a"), Path("b")), Path("c"))


def test_no_torch_is_imported_for_a_plan() -> None:
    code = (
        "import sys; from bench import cli; "
        "from bench.run import plan, progress; "
        "cli.read(['suite=shapes_1step', 'limit=10']); "
        "print([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def _refused(done: Completed, said: str) -> None:
    assert done.returncode == 2, done
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_progress_before_the_first_image_has_no_rate() -> None:
    """A process among several may pass slices by, or only score them, for longer than a line
    waits."""
    said = io.StringIO()
    out = Console(file=said, width=120)
    with progress.Reporter(out, every=0.0).bar("lcm-1step", 20) as advance:
        advance(0)
        advance(20)
    assert said.getvalue().count("\n") == 1 and "20/20 images" in said.getvalue()
