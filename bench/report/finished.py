"""`task=report`: finished runs read again, rendered, and compared; nothing is generated."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench.errors import UsageError
from bench.results import summary

if TYPE_CHECKING:
    from bench.report.runfiles import RunFiles


def report(run: Path, console: Console, out: Path | None = None) -> None:
    """Write the report of run folder `run` again, into `out` (default: the folder itself).

    Raises UsageError where the run is not finished or its result.json damaged.
    """
    from bench.report.runfiles import read

    found = load(run)
    target = out or run
    target.mkdir(parents=True, exist_ok=True)
    write(found, target, console, read(found, run, target))


def compare(runs: list[Path], console: Console, out: Path | None) -> None:
    """Write one report of several runs of one protocol, into `out`. Raises UsageError."""
    from bench.report import together

    merged, files, target = together.merge([(run, load(run)) for run in runs], out)
    target.mkdir(parents=True, exist_ok=True)
    summary.write(merged, target / "result.json")
    write(merged, target, console, files)


def write(
    found: summary.Summary, out: Path, console: Console, files: RunFiles | None = None
) -> None:
    """Write the report in all its forms into `out`; print the table and where everything is."""
    from bench.report import forms
    from bench.report.terminal import table

    written = forms.render(found, out, files)
    console.print(table(found))
    for what, path in (("report", written.page), ("pdf", written.document),
                       ("tables", written.tables[0].parent)):  # fmt: skip
        console.print(f"{what}: {path}", highlight=False, soft_wrap=True)


def load(run: Path) -> summary.Summary:
    """The Summary of a finished run. Raises UsageError: what is missing, and what finishes it."""
    if not run.is_dir():
        raise UsageError(f"{run / 'result.json'}: missing, there is no such run folder")
    if not (run / "result.json").is_file():
        raise UsageError(f"run={run}: {_unfinished(run)}")
    return summary.read(run / "result.json")


def _unfinished(run: Path) -> str:
    path = run / "run.json"
    if not path.is_file():
        return "holds neither result.json nor run.json; a run folder is wanted"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        names, suite = list(about["contestants"]), str(about["suite"])
    except (OSError, ValueError, KeyError, TypeError):
        return "the run is not finished, and its run.json is damaged; run its suite again"
    lacking = [name for name in names if not (run / "scores" / f"{name}.safetensors").is_file()]
    what = f"scores of {', '.join(lacking[:6])}" if lacking else "the comparisons"
    more = f" and {len(lacking) - 6} more" if len(lacking) > 6 else ""
    limit = f" limit={about['limit']}" if about.get("limit") is not None else ""
    again = f"python bench.py suite={suite}{limit} out={shlex.quote(str(run))}"
    return (
        f"the run is not finished, result.json and {what}{more} are missing; finish it with: "
        f"{about.get('command') or again}"
    )
