"""Checks by limits instead of tests: speed, memory, broken pictures, missing contestants.

Two runs are timed in different hours, which no interval of one of them covers, so these limits are
looser than the margins of metrics, and speed and memory are only looked at where hardware, device,
threads, precision and batch size are those of the baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bench.check.verdicts import Outcome, Verdict
from bench.results.run_folder import RunFolder
from bench.results.summary import Contestant, SecondsPerImage
from bench.statistics import margins
from bench.statistics.margins import Margin

SAME_MACHINE = ("hardware", "device", "threads", "precision")


def limit_verdicts(
    run: RunFolder, base: RunFolder, limits: Mapping[str, Margin | None]
) -> list[Verdict]:
    """Rows on speed, memory and broken pictures of every contestant that both have, and one for
    every contestant that the run lacks.  limits: the suite's, over the defaults."""
    chosen = {**margins.LIMITS, **limits}
    there = {c.name: c for c in run.summary.contestants}
    found: list[Verdict] = []
    for before in base.summary.contestants:
        after = there.get(before.name)
        if after is None:
            why = "missing in this run; if that is intended, write the baseline again"
            found.append(Verdict(before.name, "contestant", "inconclusive", why))
            continue
        skipped = _other_machine(run, base)
        found += _speed(before, after, chosen["seconds"], skipped)
        found += _memory(before, after, chosen["memory"], skipped)
        found += _broken(run, base, before, after)
    return found


def added(run: RunFolder, base: RunFolder) -> list[str]:
    """Contestants of the run that the baseline does not have; they are not judged."""
    known = {c.name for c in base.summary.contestants}
    return [c.name for c in run.summary.contestants if c.name not in known]


def _other_machine(run: RunFolder, base: RunFolder) -> str:
    """What of the machine differs, in words; empty where nothing does."""
    mine, theirs = run.summary.environment, base.summary.environment
    other = [key for key in SAME_MACHINE if mine.get(key) != theirs.get(key)]
    return f"not compared: another {' and '.join(other)}" if other else ""


def _speed(
    before: Contestant, after: Contestant, limit: Margin | None, skipped: str
) -> list[Verdict]:
    old, new = before.seconds_per_image, after.seconds_per_image
    if old is None or new is None or limit is None:
        return []
    if not skipped:
        skipped = _unlike(old, new)
    row = _limited("seconds per image", before.name, old.median, new.median, limit, skipped)
    if row.outcome == "regress" and new.median <= old.p90:
        return [replace(row, outcome="pass", why="within the baseline's p90")]
    return [row]


def _unlike(old: SecondsPerImage, new: SecondsPerImage) -> str:
    """Why seconds cannot be compared, though the machine is the same; empty where they can."""
    if "unequal" in (old.noise, new.noise):
        return "not compared: the machine was too busy to measure seconds"
    if bool(old.rounds) != bool(new.rounds):
        ways = ["in turns" if one.rounds else "while drawn" for one in (old, new)]
        return f"not compared: timed {ways[0]} -> {ways[1]}"
    return "" if old.batch == new.batch else (
        f"not compared: {old.batch} -> {new.batch} images at once"
    )  # fmt: skip


def _memory(
    before: Contestant, after: Contestant, limit: Margin | None, skipped: str
) -> list[Verdict]:
    old, new = before.peak_memory_bytes, after.peak_memory_bytes
    if old is None or new is None or limit is None:
        return []
    return [_limited("memory", before.name, old, new, limit, skipped)]


def _limited(
    subject: str, name: str, old: float, new: float, limit: Margin, skipped: str
) -> Verdict:
    allowed = margins.size(limit, old)
    ratio = f"{100 * (new / old - 1):+.0f} %" if old else "from nothing"
    outcome: Outcome = "regress" if new - old > allowed else "pass"
    why = f"{ratio}, limit +{limit}"
    if skipped:
        outcome, why = "skipped", skipped
    return Verdict(name, subject, outcome, why, old, new, new - old, loss=new - old, margin=allowed)


def _broken(
    run: RunFolder, base: RunFolder, before: Contestant, after: Contestant
) -> list[Verdict]:
    """One row where pictures are broken that were not."""
    old, new = _broken_pictures(base, before), _broken_pictures(run, after)
    if not new and not old:
        return []
    outcome: Outcome = "regress" if len(new) > len(old) else "pass"
    why = f"black or not finite: {len(old)} -> {len(new)}"
    return [
        Verdict(before.name, "broken images", outcome, why, len(old), len(new), len(new) - len(old))
    ]


def _broken_pictures(folder: RunFolder, contestant: Contestant) -> list[str]:
    """The ledger's lines on a contestant's pictures that were black or not finite."""
    held = [folder.summary.ledger.get(kind) for kind in ("not_finite", "black")]
    lines = [str(line) for found in held if isinstance(found, list) for line in found]
    return [line for line in lines if line.startswith(f"{contestant.name}: ")]
