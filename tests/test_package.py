"""Where shipped files are looked for, in a checkout and in an installed package."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench.check import baseline
from bench.errors import UsageError
from bench.results import command
from bench.run import extra_trainings, shipped, training_spread
from bench.suite import suite
from hypersd import command_line, merge, package_data
from tests.test_project import tracked

ROOT = Path(__file__).resolve().parents[1]
REPOSITORYS_ALONE = ("reports/candidates/", "reports/results/")
USED = ["suites", "reports/baselines", "reports/precomputed", "reports/trainings"]


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `boxed` of site-packages that holds `suites`, importable."""
    (folder / "boxed" / "suites").mkdir(parents=True)
    (folder / "boxed" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(folder)
    return folder / "boxed"


def test_in_a_checkout_data_stands_beside_the_package() -> None:
    found = [suite.FOLDER, baseline.FOLDER, shipped.FOLDER, extra_trainings.FOLDER]
    assert found == [ROOT / name for name in USED]
    assert package_data.checkout("bench") == ROOT
    package_data.need_checkout("bench")


def test_installed_it_lies_inside_and_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = installed(tmp_path, monkeypatch)
    (tmp_path / "suites").mkdir()  # another project's, in the same site-packages
    assert package_data.packaged("boxed", "suites") == package / "suites"
    assert package_data.checkout("boxed") is None
    with pytest.raises(UsageError, match="writes shipped files"):
        package_data.need_checkout("boxed")


@pytest.mark.parametrize(
    ("started", "said"),
    [
        ("/env/bin/few-step-bench", "few-step-bench"),
        (r"few-step-bench.exe", "few-step-bench"),
        ("/env/lib/python3.11/site-packages/bench/__main__.py", "python -m bench"),
        ("bench.py", "python bench.py"),
        ("/elsewhere/mine.py", "python bench.py"),
    ],
)
def test_a_command_is_said_as_it_was_started(
    started: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [started, "suite=my own"])
    assert command.command_name() == said
    whole = command.this_command()
    assert whole == f"{said} 'suite=my own'" or whole == f"python {started} 'suite=my own'"


@pytest.mark.parametrize("module", ["bench", "hypersd"])
def test_the_version(module: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True
    )
    names = {"bench": command.CONSOLE, "hypersd": command_line.CONSOLE}
    assert done.stdout == f"{names[module]} {version}\n"


def test_a_spread_of_nothing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no training is kept there"):
        training_spread.write(tmp_path)


def test_signs_that_an_encoding_lacks_stop_nothing() -> None:
    words = [sys.executable, "-c", "from hypersd.command_line import print_anything\n"
             "print_anything(); print('FID \N{DOWNWARDS ARROW}')"]  # fmt: skip
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, check=True, env=environment)
    assert done.stdout.split() == [b"FID", b"?"]


def test_a_drives_colon_is_no_weight() -> None:
    assert merge._part(r"C:\loras\mine") == (Path(r"C:\loras\mine"), 1.0)
    assert merge._part(r"C:\loras\mine:0.5") == (Path(r"C:\loras\mine"), 0.5)


def test_a_wheel_leaves_no_data_behind() -> None:
    """What pyproject.toml names as data is all that git knows beside the code."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    shipped: set[Path] = set()
    for package, patterns in told["package-data"].items():
        mapped = package in ("bench.suites", "bench.reports")
        folder = ROOT / (package.split(".")[1] if mapped else package.replace(".", "/"))
        shipped |= {path for pattern in patterns for path in folder.glob(pattern)}
    left = [
        path.relative_to(ROOT).as_posix()
        for path in tracked()
        if path.relative_to(ROOT).parts[0] in ("bench", "hypersd", "suites", "reports")
        and path.suffix != ".py" and not path.name.startswith(".") and path not in shipped
    ]  # fmt: skip
    assert [one for one in left if not one.startswith(REPOSITORYS_ALONE)] == []
