"""`python bench.py -m key=a,b ...`: one job per combination, by Hydra's sweeper and launchers.

    python bench.py -m suite=shapes_1step,shapes_4step contestants.tcd.eta=0.1,0.3
    python bench.py -m suite=sdxl_1step,sdxl_4step hydra/launcher=submitit_slurm \\
        hydra.launcher.partition=gpu hydra.launcher.gpus_per_node=1

Every job is one command line of its own and says and writes what that would. Words that begin with
`hydra` are Hydra's (launcher, sweeper, `hydra.sweep.dir`); in the others a comma separates values,
and a value that holds one needs quotes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from bench.errors import UsageError
from bench.options import PATHS

if TYPE_CHECKING:
    from omegaconf import DictConfig

FLAGS = ("-m", "--multirun")
FOLDER = "runs/sweeps/${now:%Y-%m-%d_%H-%M-%S}"
PLACE = "job."  # what a job's words stand below, where they cannot be taken for Hydra's groups
STOPPED = 130


def sweep(words: Sequence[str]) -> int:
    """Run every combination; 0, or the exit code of the first job that failed.

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
        _run(given, codes, values)

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
    """The words with commas and interpolations for Hydra to work out. It knows none of our keys,
    so each is added below one of its own; what is taken away (~) is for the job alone."""
    return [word if word.startswith("hydra") else f"++{PLACE}{word.lstrip('+')}"
            for word in words if not word.startswith("~")]  # fmt: skip


def _run(given: Sequence[str], codes: list[int], values: DictConfig) -> None:
    """One combination as a command line. Raises HydraException where it does not end with 0."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException

    from bench.cli import main

    added = {word.lstrip("+").split("=")[0] for word in given if word.startswith("+")}
    words = [_word(override, values, added) for override in HydraConfig.get().overrides.task]
    GlobalHydra.instance().clear()  # the job composes a configuration of its own
    print(f"job: {' '.join(words)}", flush=True)
    codes.append(main([*words, *(word for word in given if word.startswith("~"))]))
    if codes[-1] == STOPPED:
        raise KeyboardInterrupt
    if codes[-1]:
        raise CompactHydraException(f"exit code {codes[-1]}")


def _word(override: str, values: DictConfig, added: set[str]) -> str:
    """An override as it would stand on a command line; paths without quotes."""
    key, _, value = override.removeprefix(f"++{PLACE}").partition("=")
    if key in PATHS:
        value = str(values.job[key])
    return f"{'+' if key in added else ''}{key}={value}"
