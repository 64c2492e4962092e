"""`python bench.py -m key=a,b ...`: one job per combination, by Hydra's sweeper and launchers.

    python bench.py -m suite=shapes_1step,shapes_4step contestants.tcd.eta=0.1,0.3
    python bench.py -m suite=sdxl_1step,sdxl_4step hydra/launcher=submitit_slurm \\
        hydra.launcher.partition=gpu hydra.launcher.gpus_per_node=1

Every job is one command line, with the output of that command line. Words that begin with
`hydra` are Hydra's (launcher, sweeper, `hydra.sweep.dir`); in the others a comma separates values,
and a value that holds one needs quotes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from bench.errors import UsageError
from bench.suite.compose import PATHS

if TYPE_CHECKING:
    from omegaconf import DictConfig

FLAGS = ("-m", "--multirun")
FOLDER = "runs/sweeps/${now:%Y-%m-%d_%H-%M-%S}"
PLACE = "job."  # what a job's words stand below, where they cannot be taken for Hydra's groups
STOPPED = 130
Main = Callable[[list[str]], int]


def sweep(words: Sequence[str], main: Main) -> int:
    """Run every combination; 0, or the exit code of the first job that failed.

    main: does what one command line says, and gives its exit code.

    Raises UsageError for a word that is no key=value, KeyboardInterrupt where a job was stopped.
    """
    import hydra
    from hydra.core.config_store import ConfigStore

    given = [word for word in words if word not in FLAGS]
    for word in given:
        if "=" not in word and not word.startswith("~"):
            raise UsageError(f"{word!r}: expected key=value (or --help)")
    ConfigStore.instance().store("sweep", _settings())
    codes: list[int] = []

    def job(values: DictConfig) -> None:
        codes.append(_run(_words(given, values), main))
        _go_on(codes[-1])

    job.__module__ = "__main__"  # of a package's, Hydra would look for configurations beside it
    start = hydra.main(version_base="1.3", config_path=None, config_name="sweep")(job)
    with patch.object(sys, "argv", [sys.argv[0], "--multirun", *_for_hydra(given)]):
        try:
            start()
        except SystemExit as stopped:  # Hydra has said which job it was
            return next(filter(None, codes), 2) if stopped.code else 0
    return 0


def _settings() -> dict[str, Any]:
    """Hydra's own: jobs say what they say, and their folders hold nothing of Hydra's."""
    return {
        "defaults": ["_self_", {"override hydra/job_logging": "none"}],
        "hydra": {"sweep": {"dir": FOLDER}, "output_subdir": None},
    }


def _for_hydra(words: Sequence[str]) -> list[str]:
    """The words with commas and interpolations for Hydra to work out. Hydra knows none of these
    keys, so each is added below one of its own; what is taken away (~) is for the job alone."""
    return [word if word.startswith("hydra") else f"++{PLACE}{word.lstrip('+')}"
            for word in words if not word.startswith("~")]  # fmt: skip


def _words(given: Sequence[str], values: DictConfig) -> list[str]:
    """One combination as the words of a command line."""
    from hydra.core.hydra_config import HydraConfig

    added = {word.lstrip("+").split("=")[0] for word in given if word.startswith("+")}
    words = [_word(override, values, added) for override in HydraConfig.get().overrides.task]
    return [*words, *(word for word in given if word.startswith("~"))]


def _word(override: str, values: DictConfig, added: set[str]) -> str:
    """An override as it would stand on a command line; paths without quotes."""
    key, _, value = override.removeprefix(f"++{PLACE}").partition("=")
    if key in PATHS:
        value = str(values.job[key])
    return f"{'+' if key in added else ''}{key}={value}"


def _run(words: list[str], main: Main) -> int:
    """The exit code of one combination."""
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()  # the job composes a configuration of its own
    print(f"job: {' '.join(word for word in words if not word.startswith('~'))}", flush=True)
    return main(words)


def _go_on(code: int) -> None:
    """Raise HydraException where a job failed, KeyboardInterrupt where it was stopped."""
    from hydra.errors import CompactHydraException

    if code == STOPPED:
        raise KeyboardInterrupt
    if code:
        raise CompactHydraException(f"exit code {code}")
