"""`task=check`: a finished run against a baseline, or (`update=true`) a baseline out of a run.

Nothing is generated. Into the run folder go check/junit.xml, check/summary.md with check/pictures,
and check/check.json; where $GITHUB_STEP_SUMMARY is set the summary goes there as well.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from bench.check import (
    baseline,
    github,
    junit,
    limits,
    markdown,
    protocol,
    verdicts,
    worst_prompts,
)
from bench.check.markdown import Page
from bench.check.measured import Gate, same_pictures
from bench.check.verdicts import Verdict, metric_verdicts
from bench.check.worst_prompts import Sides
from bench.errors import UsageError
from bench.results.run_folder import RunFolder
from hypersd.validation import Text
from hypersd.whole_files import written_whole

Bounds = Mapping[str, Any]
CODES = {"pass": 0, "regress": 1, "inconclusive": 3}
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
STEP_LIMIT = 900_000  # bytes; GitHub refuses a step's summary of more than 1 MiB


@dataclass(frozen=True)
class CheckOptions:
    """What a run is compared with.

    baseline: a name, or a folder where it holds a slash.  update: write it.  pictures: the address
    at which the check's pictures will be published.  check: whether the weights are judged or the
    training that made them; None: by what changed.  decide: draw more prompts until it is decided,
    `most` of them (None: all that the baseline has).
    """

    baseline: Text
    update: bool = False
    pictures: Text | None = None
    check: Gate | None = None
    decide: bool = False
    most: Annotated[int, Field(ge=2)] | None = None


def check(path: Path, options: CheckOptions, bounds: Bounds | None = None) -> int:
    """Compare the run in folder `path` with a baseline: 0 passed, 1 regressed, 3 inconclusive.

    bounds: "margins" and "limits"; None: those that the run was made with.
    Raises UsageError: no finished run, no baseline, another protocol, something damaged.
    """
    if options.update:
        run = RunFolder(path, "run").checked()
        target = baseline.locate(options.baseline, new=True)
        return _update(run, target, run.resolved if bounds is None else bounds, options.check)
    page = _compared(path, options, bounds)
    return finished(page, path / "check", options.pictures)


def checked(path: Path, options: CheckOptions, bounds: Bounds | None = None) -> Page:
    """The check of the run in folder `path`, written into its folder `check`, without a word.

    bounds and errors as `check`.
    """
    page = _compared(path, options, bounds)
    _write(page, path / "check", options.pictures)
    return page


def _compared(path: Path, options: CheckOptions, bounds: Bounds | None) -> Page:
    run = RunFolder(path, "run").checked()
    bounds = run.resolved if bounds is None else bounds
    target = baseline.locate(options.baseline)
    base = RunFolder(target, "baseline").checked()
    different = protocol.differences(run, base)
    if different:
        raise UsageError(
            f"baseline={options.baseline}: of another protocol ({'; '.join(different)}); compare "
            "with one of this protocol, or write it anew with update=true"
        )
    return judged(run, base, options.baseline, bounds, options.check)


def finished(page: Page, out: Path, pictures: str | None) -> int:
    """Write and say a check; its exit code.

    out: folder of its files.  pictures: the address at which `out`/pictures will be published.
    """
    _write(page, out, pictures)
    _say(page, out)
    for line in github.commands(page, os.environ):
        print(line)
    return CODES[page.outcome]


def judged(
    run: RunFolder, base: RunFolder, name: str, bounds: Bounds, gate: Gate | None = None
) -> Page:
    """Every verdict on `run`, what changed, and the worst prompts, whose pictures are copied into
    the run's check/pictures.

    Raises UsageError where the two have no contestant in common, or something is missing.
    """
    names = {c.name for c in run.summary.contestants} & {c.name for c in base.summary.contestants}
    if not names:
        known = ", ".join(c.name for c in base.summary.contestants)
        raise UsageError(f"baseline={name}: has no contestant of this run; it has {known}")
    rows = [
        *metric_verdicts(run, base, bounds.get("margins") or {}, gate),
        *limits.limit_verdicts(run, base, bounds.get("limits") or {}),
    ]
    return page_of(rows, run, base, name, lambda _: (run, base), run.path / "check" / "pictures")


def page_of(
    rows: Sequence[Verdict], run: RunFolder, base: RunFolder, name: str, sides: Sides,
    pictures: Path, notes: Sequence[str] = (),
) -> Page:  # fmt: skip
    """All that a check says. sides: of each contestant; notes: on how it was decided."""
    changed = {
        c.name: protocol.changes(run, base, c.name) or _unexplained(run, base, c.name)
        for c in base.summary.contestants
        if c.name in {one.name for one in run.summary.contestants}
    }
    return Page(
        suite=run.summary.suite,
        baseline=name,
        outcome=overall(rows),
        verdicts=rows,
        changed={key: clauses for key, clauses in changed.items() if clauses},
        environment=protocol.environment(run, base),
        added=limits.added(run, base),
        worst=worst_prompts.worst(rows, sides, pictures),
        not_kept=[said for folder in (run, base) if (said := folder.not_kept)],
        notes=notes,
    )


def _unexplained(run: RunFolder, base: RunFolder, name: str) -> list[str]:
    """A clause where an unchanged contestant drew other pictures than the baseline's."""
    mine, theirs = run.features(name), base.features(name)
    if not (mine.keys() & theirs.keys()) - {"index", "seed"}:
        return []
    if same_pictures(mine, theirs, protocol.aligned(run, base)):
        return []
    return ["settings and weights are the same, but its pictures differ (versions? hardware?)"]


def overall(rows: Sequence[Verdict]) -> str:
    """The worst of all: regress, then inconclusive, then pass."""
    held = {row.outcome for row in rows}
    return next((o for o in ("regress", "inconclusive") if o in held), "pass")


def _update(run: RunFolder, target: Path, bounds: Bounds, gate: Gate | None) -> int:
    """Write the baseline; says first how the run compares with the one that it replaces."""
    if (target / "result.json").is_file():
        try:
            base = RunFolder(target, "baseline").checked()
            different = protocol.differences(run, base)
            if different:
                print(f"the old baseline is of another protocol: {'; '.join(different)}")
            else:
                _say(judged(run, base, target.name, bounds, gate), None)
        except UsageError as error:
            print(f"the old baseline cannot be compared: {error}")
    baseline.write(run, target)
    print(f"baseline: {target} (from {run.path}; commit it together with what changed)")
    return 0


def _write(page: Page, out: Path, published: str | None) -> None:
    """JUnit, Markdown and JSON into `out`, the summary also for GitHub where it asks for one.

    published: the address at which `out`/pictures will be found.
    """
    out.mkdir(parents=True, exist_ok=True)
    _save(out / "junit.xml", junit.xml(page.suite, page.verdicts))
    beside = markdown.render(page, lambda path: path.relative_to(out).as_posix())
    _save(out / "summary.md", beside.encode())
    rows = [{k: v for k, v in dataclasses.asdict(row).items() if k != "losses"}
            for row in page.verdicts]  # fmt: skip
    told = {"outcome": page.outcome, "suite": page.suite, "baseline": page.baseline,
            "changed": page.changed, "environment": page.environment, "notes": page.notes,
            "verdicts": rows}  # fmt: skip
    _save(out / "check.json", (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode())
    github = os.environ.get(STEP_SUMMARY)
    if github:
        text = markdown.render(page, _published(out, published)).encode()
        with open(github, "ab") as file:
            file.write(text[:STEP_LIMIT].decode(errors="ignore").encode() + b"\n")


def _published(out: Path, address: str | None) -> Callable[[Path], str] | None:
    """Where a picture is found on the web; None without an address.

    GitHub shows neither files of a job nor pictures inside the text (it drops data addresses), so
    the workflow has to publish them (docs/check.md).
    """
    if address is None:
        return None
    return lambda path: f"{address.rstrip('/')}/{path.relative_to(out / 'pictures').as_posix()}"


def _save(path: Path, content: bytes) -> None:
    with written_whole(path) as beside:
        beside.write_bytes(content)


def _say(page: Page, out: Path | None) -> None:
    """The check on standard output: what is not a pass, what changed, and the verdict."""
    width = max(60, shutil.get_terminal_size((110, 24)).columns)
    for name, clauses in page.changed.items():
        print(f"changed  {name}: {'; '.join(clauses)}")
    for name in dict.fromkeys(row.contestant for row in page.verdicts if row.gate == "training"):
        print(
            f"training {name}: judged over new training seeds (check=weights judges these weights)"
        )
    for name in page.added:
        print(f"new      {name}: not in the baseline, not judged")
    for row in page.verdicts:
        if row.outcome != "pass":
            line = f"{row.outcome:<12} {row.contestant} {row.subject}: {row.why}"
            figures = junit.numbers(row)
            joined = f"{line} ({figures})" if figures else line
            print(joined if len(joined) <= width or not figures else f"{line}\n{'':13}{figures}")
    held = [row.outcome for row in page.verdicts]
    counts = ", ".join(f"{held.count(o)} {o}" for o in verdicts.OUTCOMES if o in held)
    print(f"{page.outcome}: {page.suite} against {page.baseline} ({counts})")
    if out is not None:
        print(f"summary: {out / 'summary.md'}\njunit: {out / 'junit.xml'}")
