"""Folders in which small runs happen, and what they come to where nothing goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import victims
from tests.support.judges import Judges


@pytest.fixture(scope="session")
def furnished(tiny_base: Path, tiny_lora: Path) -> Callable[[Path], Path]:
    """Makes a folder in which `suite=tiny.yaml` runs, on the tiny base and a recipe of 8 steps."""

    def make(folder: Path) -> Path:
        victims.furnish(folder, tiny_base, tiny_lora)
        return folder

    return make


@pytest.fixture(scope="session")
def undisturbed(
    furnished: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run that nothing happened to, in `run`."""
    folder = furnished(tmp_path_factory.mktemp("undisturbed"))
    assert victims.run(folder, "out=run") == 0, victims.said(folder)
    found = victims.outcome(folder)
    assert found.pop("damaged") == [] and all(found.values())
    return folder


@pytest.fixture
def judges(monkeypatch: pytest.MonkeyPatch) -> Judges:
    """The judges of runs in this process; slices are as short as in the others."""
    return victims.cheap_judges(monkeypatch.setattr)


@pytest.fixture
def world(
    judges: Judges,
    furnished: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder for runs in this process: the working directory."""
    furnished(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bench(world: Path) -> Callable[..., int]:
    """Calls the command line in this process."""
    from bench.cli import main

    def call(*words: str) -> int:
        return main([*victims.suite_words(words), *words])

    return call
