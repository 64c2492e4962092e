"""The prompts with the largest losses, with their pictures before and after."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.check import protocol
from bench.check.verdicts import Verdict
from bench.errors import UsageError
from bench.results.run_folder import RunFolder
from hypersd.whole_files import written_whole

MOST = 6  # prompts shown of a contestant


@dataclass(frozen=True)
class Worst:
    """A prompt with a loss, and its pictures as files below the check's folder (or None).

    loss: on `metric`, in its unit (of a distance: the prompt's share, as an influence).
    """

    contestant: str
    metric: str
    prompt: int
    text: str
    loss: float
    before: Path | None
    after: Path | None


Sides = Callable[[str], tuple[RunFolder, RunFolder]]
"""A contestant's name -> the run and the baseline that its verdicts are of."""


def worst(verdicts: Sequence[Verdict], sides: Sides, out: Path) -> list[Worst]:
    """The worst prompts of every contestant that did not pass, pictures copied below `out`.

    They are those of one metric: of those that regressed (else: are undecided) the one with
    the largest loss in margins, a metric with scores before a distance.  Prompts with pictures on
    both sides come first; without any, the worst prompts are listed as text.
    """
    found = []
    shutil.rmtree(out, ignore_errors=True)  # those of an earlier check
    for name in dict.fromkeys(v.contestant for v in verdicts):
        run, base = sides(name)
        verdict = _worst_metric([v for v in verdicts if v.contestant == name], base)
        if verdict is not None:
            found += _of(verdict, run, base, out)
    return found


def _worst_metric(verdicts: Sequence[Verdict], base: RunFolder) -> Verdict | None:
    for outcome in ("regress", "inconclusive"):
        rows = [v for v in verdicts if v.outcome == outcome and any(v.losses.values())]
        rows = [v for v in rows if outcome == "regress" or (v.loss or 0.0) > 0]
        if rows:
            kinds = base.summary.contestant(rows[0].contestant).metrics
            return max(
                rows,
                key=lambda v: (
                    kinds[v.subject].kind in ("mean", "share"),
                    (v.loss or 0.0) / v.margin if v.margin else 0.0,
                ),
            )
    return None


def _of(verdict: Verdict, run: RunFolder, base: RunFolder, out: Path) -> list[Worst]:
    name, places = verdict.contestant, protocol.aligned(run, base)
    before = base.pictures(name)
    after = {places[i]: path for i, path in run.pictures(name).items() if i in places}
    order = sorted(verdict.losses, key=lambda i: -verdict.losses[i])
    order = [i for i in order if verdict.losses[i] > 0]
    pictured = [i for i in order if i in before and i in after]
    found = []
    for index in (pictured or order)[:MOST]:
        sides = [_copied(paths.get(index), out / name / f"{index:05d}-{side}.png")
                 for paths, side in ((before, "before"), (after, "after"))]  # fmt: skip
        text = base.texts.get(index, f"prompt {index}")
        loss = verdict.losses[index]
        found.append(Worst(name, verdict.subject, index, text, loss, sides[0], sides[1]))
    return found


def _copied(source: Path | None, target: Path) -> Path | None:
    """A picture as PNG at `target`; None where there is none or it cannot be read."""
    from hypersd.picture_reader import read

    if source is None:
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        picture = read(source).image
        with written_whole(target) as beside:
            picture.save(beside, "PNG")
    except (OSError, UsageError):
        return None
    return target
