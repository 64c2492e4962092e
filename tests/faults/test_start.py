"""What says only what it would do starts at once, since nothing heavy is imported for it.

How fast that is, beside an import of torch: `python -m benchmarks.start`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "diffusers", "transformers", "scipy", "matplotlib", "open_clip", "PIL", "jinja2")
# At the end of a whole command, on stderr: what was imported of HEAVY.
PROBE = """
import atexit, sys
atexit.register(lambda: print([m for m in {heavy} if m in sys.modules], file=sys.stderr))
from bench.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("suite", ["shapes_1step", "shapes_1to8", "shapes_check"])
@pytest.mark.parametrize("words", [["--help"], ["task=plan"]])
def test_plan_and_help_start_without_torch(tmp_path: Path, suite: str, words: list[str]) -> None:
    command = [sys.executable, "-c", PROBE.format(heavy=HEAVY), f"suite={suite}", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stderr.strip() == "[]"
    assert suite in done.stdout or "images to make" in done.stdout


def test_the_package_is_imported_without_anything_heavy(tmp_path: Path) -> None:
    """`import bench` is for programs that may never run a suite (`python -m benchmarks.start`)."""
    code = f"import sys, bench; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_a_mistake_is_found_without_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROBE.format(heavy=HEAVY), "suite=shapes_1step", "stesp=1"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.strip().endswith("[]")
