"""A preference study's votes as tables that may be published: raters go by pseudonyms.

votes.csv              people's votes
votes_simulated.csv    those of a simulated panel, never in one file with people's

One row per vote that stands, checks and raters who were left out included, so that every figure of
the report can be made again. A pseudonym is made with the study's secret, which never leaves the
database: it is the same in every table of one study, and cannot be guessed from a name.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from bench.results.csv_text import csv_text
from bench.study.analysis import rater_lines
from bench.study.pictures import hidden
from bench.study.sections import opened
from bench.study.store import Vote
from hypersd.whole_files import written_whole

COLUMNS = ("rater", "simulated", "counts", "kind", "prompt", "a", "b", "left", "vote", "seconds",
           "day")  # fmt: skip


def write(run: Path, out: Path) -> list[Path]:
    """Write the votes of a run's study into out/tables; nothing where there are none.

    Raises OSError, and UsageError where the database is damaged or of other pictures.
    """
    made = []
    with opened(run) as study:
        if study is None:
            return []
        for simulated, name in ((False, "votes.csv"), (True, "votes_simulated.csv")):
            votes = study[1].votes(simulated=simulated)
            if votes:
                made.append(out / "tables" / name)
                _save(made[-1], text(votes, study[1].secret))
    return made


def _save(path: Path, content: str) -> None:
    """Write a file whole or not at all, and the folder around it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as beside:
        beside.write_text(content, encoding="utf-8")


def text(votes: Sequence[Vote], secret: str) -> str:
    """The table, ordered by prompts and pairs: the order of voting would reveal who voted when."""
    out = {line.name for line in rater_lines(votes) if line.left_out}
    order = sorted(votes, key=lambda v: (v.trial.prompt, v.trial.a, v.trial.b, v.trial.id))
    return csv_text(COLUMNS, [_row(v, secret, v.rater.name not in out) for v in order])


def _row(vote: Vote, secret: str, trusted: bool) -> tuple[str | int, ...]:
    trial = vote.trial
    day = time.strftime("%Y-%m-%d", time.gmtime(vote.at))
    return (
        pseudonym(vote, secret), int(vote.rater.simulated), int(trusted and trial.kind != "check"),
        trial.kind, trial.prompt, trial.a, trial.b, "b" if trial.flipped else "a", vote.winner,
        f"{vote.seconds:.1f}", day,
    )  # fmt: skip


def pseudonym(vote: Vote, secret: str) -> str:
    """Eight hex digits for a person; a simulated rater's own name, which is no secret."""
    if vote.rater.simulated:
        return vote.rater.name
    return f"rater-{hidden(secret, 'rater', vote.rater.id)[:8]}"
