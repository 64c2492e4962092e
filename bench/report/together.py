"""Several runs of one protocol as one: contestants matched by identity, compared anew.

A contestant that two runs share (same name and identity) appears once. One name with two
identities becomes `name (folder)`, once per run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError
from bench.report import runfiles
from bench.report.runfiles import RunFiles
from bench.report.view import without_counts
from bench.results.run_folder import RunFolder
from bench.results.summary import Contestant, Summary
from bench.statistics.comparisons import Scored, compare, refused, sensitivity
from bench.statistics.result import from_arrays
from bench.statistics.step_response import step_responses
from hypersd.hashes import digest

Runs = Sequence[tuple[Path, Summary]]


@dataclass(frozen=True)
class Entrant:
    """A contestant, renamed where that is needed, and the run it comes from."""

    contestant: Contestant
    original: str
    run: Path


def merge(runs: Runs, out: Path | None) -> tuple[Summary, RunFiles, Path]:
    """(Summary of all, its files, the folder for the report).

    Raises UsageError: fewer than two runs, another protocol, scores that are missing or damaged.
    """
    if len(runs) < 2:
        raise UsageError("runs=[...]: needs two run folders or more, as runs=[runs/a,runs/b]")
    for run, found in runs[1:]:
        differing = differences(runs[0], (run, found))
        if differing:
            raise UsageError(
                f"runs: {runs[0][0]} and {run} cannot be compared: {'; '.join(differing)}"
            )
    names = " and ".join(str(run.name or run) for run, _ in runs)
    target = out or Path("runs") / f"compare-{digest([str(r.resolve()) for r, _ in runs])[:8]}"
    entrants = _entrants(runs)
    scored = [_scored(entrant) for entrant in entrants]
    first, margins = runs[0][1], RunFolder(runs[0][0]).resolved.get("margins")
    margins = margins if isinstance(margins, dict) else None
    comparisons = compare(scored, margins)
    merged = Summary(
        suite=first.suite,
        protocol=first.protocol,
        environment={_label(runs, run): found.environment for run, found in runs},
        seconds={},
        contestants=[entrant.contestant for entrant in entrants],
        comparisons=comparisons,
        ledger={
            **{_label(runs, run): without_counts(found.ledger) for run, found in runs},
            "not_compared": refused(scored),
        },
        title=f"{first.title or first.suite}: {names}",
        limit=first.limit,
        sensitivity=sensitivity(comparisons),
        step_response=step_responses(scored, margins),
    )
    return merged, _files(entrants, runs, target), target


def differences(a: tuple[Path, Summary], b: tuple[Path, Summary]) -> list[str]:
    """The differences between the protocols of two runs, a clause each; empty if they match."""
    (one, first), (two, second) = a, b
    if first.protocol == second.protocol:
        return []
    found = []
    for what, x, y in _facts(one, first, two, second):
        if x != y:
            found.append(f"{what}: {x} and {y}")
    found += _metric_differences(first, second)
    if _texts(one) != _texts(two) and not any(f.startswith("prompts") for f in found):
        found.append("prompts: their words differ")
    return found or [f"protocol {first.protocol[:12]} and {second.protocol[:12]}"]


def _facts(one: Path, first: Summary, two: Path, second: Summary) -> list[tuple[str, Any, Any]]:
    x, y = RunFolder(one).resolved, RunFolder(two).resolved
    return [
        ("prompts", len(_texts(one)), len(_texts(two))),
        ("seeds", _seeds(first), _seeds(second)),
        ("size in pixels", x.get("size"), y.get("size")),
        ("prompt set", x.get("prompt_set"), y.get("prompt_set")),
    ]


def _metric_differences(first: Summary, second: Summary) -> list[str]:
    mine, theirs = _identities(first), _identities(second)
    found = []
    for metric in dict.fromkeys([*mine, *theirs]):
        if metric not in mine or metric not in theirs:
            found.append(f"{metric}: only in {'the first' if metric in mine else 'the second'}")
        elif mine[metric] != theirs[metric]:
            found.append(f"{metric}: another network, version or reference")
    return found


def _identities(found: Summary) -> dict[str, str]:
    return {m: v.identity for c in found.contestants for m, v in c.metrics.items()}


def _seeds(found: Summary) -> list[int]:
    return sorted({seed for c in found.contestants for seed in c.seeds})


def _texts(run: Path) -> dict[int, str]:
    return RunFolder(run).legible_texts()[0]


def _entrants(runs: Runs) -> list[Entrant]:
    """Every contestant of every run, once per identity."""
    known = {(c.name, c.identity): (c, run) for run, found in reversed(runs)
             for c in reversed(found.contestants)}  # fmt: skip
    order = dict.fromkeys((c.name, c.identity) for _, found in runs for c in found.contestants)
    shared = Counter(name for name, _ in order)
    entrants = []
    for key in order:
        contestant, run = known[key]
        name = key[0] if shared[key[0]] == 1 else f"{key[0]} ({_label(runs, run)})"
        method = contestant.method
        if shared[key[0]] > 1 and not contestant.is_anchor and method != "teacher":
            method = f"{method} ({_label(runs, run)})"
        entrants.append(Entrant(replace(contestant, name=name, method=method), key[0], run))
    return entrants


def _label(runs: Runs, run: Path) -> str:
    """A run's folder name, with its place in the list where two are called alike."""
    names = [other.resolve().name for other, _ in runs]
    place = [other for other, _ in runs].index(run)
    return names[place] if names.count(names[place]) == 1 else f"{place + 1}: {names[place]}"


def _scored(entrant: Entrant) -> Scored:
    """The input of comparisons, from the run's scores. Raises UsageError."""
    arrays = RunFolder(entrant.run).scores(entrant.original)
    return Scored(entrant.contestant, from_arrays(entrant.contestant.metrics, arrays))


def _files(entrants: Sequence[Entrant], runs: Runs, target: Path) -> RunFiles:
    """The files of all, by the contestants' new names."""
    read = {run: runfiles.read(found, run, target) for run, found in runs}
    columns = {}
    for entrant in entrants:
        own = read[entrant.run]
        row = own.names.index(entrant.original)
        there = {m: np.isfinite(values[row]) for m, values in own.scores.items()}
        columns[entrant.contestant.name] = {
            m: (own.ids[there[m]], own.scores[m][row][there[m]]) for m in own.scores
        }
    names = [entrant.contestant.name for entrant in entrants]
    ids, scores = runfiles.table(names, columns)
    pictures = {
        e.contestant.name: read[e.run].pictures[e.original]
        for e in entrants
        if e.original in read[e.run].pictures
    }
    first = read[runs[0][0]]
    notes = [note for found in read.values() for note in found.notes]
    not_kept = [f"{_label(runs, run)}: {said}" for run in read for said in read[run].not_kept]
    return RunFiles(target, first.prompts, pictures, names, ids, scores, notes, not_kept=not_kept)
