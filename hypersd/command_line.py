"""The way a command line was started: by its console command, as a module, or by a script."""

from __future__ import annotations

import io
import sys
from pathlib import Path

DISTRIBUTION = "few-step-bench"
CONSOLE = "few-step-train"  # beside `python -m hypersd`


def started_as(package: str, console: str) -> str | None:
    """`console` or `python -m package`, whichever started this process; None for anything else."""
    started = Path(sys.argv[0] if sys.argv else "")
    if started.stem == console:
        return console
    if started.name == "__main__.py" and started.parent.name == package:
        return f"python -m {package}"
    return None


def print_anything() -> None:
    """Let standard output and error show `?` for signs that their encoding lacks (Windows' code
    pages where output is no terminal, LANG=C), instead of stopping at the first arrow."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def version_words(console: str) -> str:
    """The output of `--version`."""
    from importlib.metadata import PackageNotFoundError, version  # 20 ms that no other word needs

    try:
        return f"{console} {version(DISTRIBUTION)}"
    except PackageNotFoundError:
        return f"{console} (not installed, version unknown)"
