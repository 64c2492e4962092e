"""`python bench.py suite=NAME|PATH [task=run|plan|...] [key=value ...]`."""

from __future__ import annotations

import os
import sys

from bench.cli.help import HELP
from bench.cli.tasks import TASKS
from bench.cli.words import read
from bench.errors import UNEXPECTED, UsageError, in_a_line, unexpected
from bench.results.command import CONSOLE, command_name
from bench.run import processes
from hypersd.command_line import print_anything, version_words


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the exit code is one of those that HELP names."""
    words = sys.argv[1:] if arguments is None else arguments
    print_anything()
    if any(word in ("-h", "--help") for word in words):
        from bench.suite.suite import names

        print(HELP.format(command=command_name(), suites=", ".join(names())), end="")
        return 0
    if "--version" in words:
        print(version_words(CONSOLE))
        return 0
    try:
        with processes.rank_zero_prints():
            return _dispatch(words)
    except (UsageError, OSError) as error:  # OSError: a full disk, a folder that is gone
        print(f"error: {_whose()}{in_a_line(error)}", file=sys.stderr)
        return 2
    except Exception as error:
        print(f"error: {_whose()}{unexpected(error)}", file=sys.stderr)
        return UNEXPECTED
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _whose() -> str:
    """The rank of this process, as a prefix of its errors."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f"rank {rank}: "


def _dispatch(words: list[str]) -> int:
    if not words:
        raise UsageError(f"usage: {command_name()} suite=NAME|PATH [key=value ...]; see --help")
    if "-m" in words or "--multirun" in words:
        from bench.run.sweep import sweep

        return sweep(words, main)
    command = read(words)
    if not processes.here().leads and command.task != "run":
        return 0  # one process is enough for it
    return TASKS[command.task](command)
