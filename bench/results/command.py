"""The command that made a run, and the form of the next one."""

from __future__ import annotations

import shlex
import sys

from hypersd.command_line import started_as
from hypersd.package_data import checkout

CONSOLE = "few-step-bench"


def command_name() -> str:
    """The command before `task=...`: the one that started this process, else the one available
    here."""
    beside = "python bench.py" if checkout("bench") else CONSOLE
    return started_as("bench", CONSOLE) or beside


def this_command() -> str:
    """The whole command line of this process, quoted for a shell."""
    script, *words = sys.argv
    called = started_as("bench", CONSOLE) or f"python {shlex.quote(script)}"
    return " ".join([called, *map(shlex.quote, words)])
