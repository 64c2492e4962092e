"""sdist and wheel, built from the tree, installed into an environment of their own, and used there.

The environment holds the wheel alone. Its dependencies are those of the environment that runs this
test, by a path at the end of its own, so that torch is not installed twice; that they install from
nothing is what `.ci/run` shows.
"""

from __future__ import annotations

import hashlib
import json
import os
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_project import MAX_WEIGHTS, tracked

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow
MAX_WHEEL = 100 * 2**20
BUILD = "from setuptools import build_meta; print(build_meta.build_{what}({out!r}))"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of the tracked files, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    tree, out = folder / "tree", folder / "out"
    for path in tracked():
        copy = tree / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    out.mkdir()
    _build("sdist", tree, out)
    with tarfile.open(next(out.glob("*.tar.gz"))) as packed:
        packed.extractall(folder, filter="data")
    _build("wheel", next(folder.glob("few_step_bench-*")), out)
    return out


def _build(what: str, tree: Path, out: Path) -> None:
    words = [sys.executable, "-c", BUILD.format(what=what, out=str(out))]
    done = subprocess.run(words, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def environment(dist: Path) -> Path:
    """A virtual environment that holds the wheel and sees this one's other packages."""
    folder = dist.parent / "environment"
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    wheel = next(dist.glob("*.whl"))
    _said(folder, "-m", "pip", "install", "--no-deps", "--no-index", "-q", str(wheel))
    mine = Path(_said(folder, "-c", "import site; print(site.getsitepackages()[-1])"))
    # a path in a .pth file brings no .pth files of its own, so not the checkout's editable one
    (mine / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder


def _bin(environment: Path) -> Path:
    return environment / ("Scripts" if os.name == "nt" else "bin")


def _outside() -> dict[str, str]:
    """The environment's variables without those that lead to this checkout."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}


def _said(environment: Path, *words: str, cwd: Path | None = None, code: int = 0) -> str:
    """What a command of the environment says; `-...` is given to its Python."""
    command = [words[0]] if not words[0].startswith("-") else ["python", words[0]]
    command[0] = str(_bin(environment) / command[0])
    done = subprocess.run(
        [*command, *words[1:]], cwd=cwd, capture_output=True, text=True, env=_outside()
    )
    assert done.returncode == code, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def package(environment: Path) -> Iterator[Path]:
    """The folder of the installed `bench`; nothing in site-packages may have changed at the end."""
    where = _said(environment, "-c", "import bench; print(bench.__path__[0])", cwd=environment)
    folder = Path(where)
    assert folder.is_relative_to(environment)
    before = _content(folder.parent)
    yield folder
    assert _content(folder.parent) == before


def _content(folder: Path) -> dict[str, str]:
    """A hash of every file but of compiled ones."""
    paths = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def test_what_a_wheel_holds(dist: Path) -> None:
    wheel = next(dist.glob("*.whl"))
    assert wheel.stat().st_size < MAX_WHEEL
    with zipfile.ZipFile(wheel) as packed:
        sizes = {info.filename: info.file_size for info in packed.infolist()}
    assert {name.split("/")[0] for name in sizes} == {
        "bench", "hypersd", f"{wheel.name.split('-py3')[0]}.dist-info"
    }  # fmt: skip
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        first = name.split("/")[0]
        if path.name.startswith(".") or name.startswith(("reports/candidates", "reports/results")):
            continue
        if first in ("bench", "hypersd", "suites", "reports"):
            there = f"bench/{name}" if first in ("suites", "reports") else name
            assert sizes.get(there) == path.stat().st_size, there
    weights = [size for name, size in sizes.items() if name.startswith("hypersd/shapes/weights/")]
    assert 0 < sum(weights) <= MAX_WEIGHTS


def test_a_run_in_an_empty_folder(environment: Path, package: Path, tmp_path: Path) -> None:
    assert _said(environment, "few-step-bench", "--version").startswith("few-step-bench 0.")
    said = _said(environment, "few-step-bench", "suite=shapes_1step", "limit=20", "out=run",
                 cwd=tmp_path)  # fmt: skip
    assert "run/report.html" in said and "shipped features" in said
    found = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in found["contestants"]}
    assert rows["real"]["precomputed"] and rows["teacher-25step"]["precomputed"]
    assert rows["real"]["metrics"]["clip"]["value"] > rows["lcm-1step"]["metrics"]["clip"]["value"]
    assert found["environment"]["command"] == "few-step-bench suite=shapes_1step limit=20 out=run"
    assert found["environment"]["commit"] == ""  # not that of whichever checkout is around it
    assert {path.name for path in tmp_path.iterdir()} == {"run", "runs"}  # runs/cache

    words = ("task=check", "run=run", "baseline=main")
    assert "reports/baselines/main" in _said(environment, "few-step-bench", *words, "update=true",
                                             cwd=tmp_path).replace(os.sep, "/")  # fmt: skip
    assert (tmp_path / "reports" / "baselines" / "main" / "result.json").is_file()
    _said(environment, "-m", "bench", *words, cwd=tmp_path)


def test_training_and_what_only_a_checkout_does(
    environment: Path, package: Path, tmp_path: Path
) -> None:
    words = ("recipe=shapes_lcm", "steps=2", "batch=2", "data.n=8", "out=trained")
    _said(environment, "few-step-train", *words, cwd=tmp_path)
    assert (tmp_path / "trained" / "final" / "README.md").is_file()
    for module, name in (("bench.run.restamp", ()), ("bench.run.references", ("real",))):
        _said(environment, "-m", module, *name, cwd=tmp_path, code=2)
