"""Raters, questions and votes in one SQLite file; every vote is on disk before it is answered.

Nothing is overwritten: an undone vote stays, with the time when it was undone. One connection,
one lock, one transaction per call; WAL with synchronous=FULL, so that neither a kill nor a loss of
power takes a vote that was acknowledged.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from hypersd.whole_files import alone

VERSION = 1
APPLICATION = 0x66737462  # marks the file as a study's
CHOICES = ("left", "right", "tie", "both_bad")
LONGEST_NAME = 40
SIMULATED = "simulated"  # how names of simulated raters begin, and of no person's
SCHEMA = f"""
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE raters (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE,
    simulated INTEGER NOT NULL CHECK (simulated IN (0, 1)), made REAL NOT NULL
);
CREATE TABLE trials (
    id TEXT PRIMARY KEY, rater INTEGER NOT NULL REFERENCES raters, place INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('chosen', 'shared', 'check')),
    prompt INTEGER NOT NULL, a TEXT NOT NULL, b TEXT NOT NULL,
    flipped INTEGER NOT NULL CHECK (flipped IN (0, 1)), made REAL NOT NULL,
    UNIQUE (rater, place), UNIQUE (rater, prompt, a, b)
);
CREATE TABLE votes (
    id INTEGER PRIMARY KEY, trial TEXT NOT NULL REFERENCES trials,
    choice TEXT NOT NULL CHECK (choice IN {CHOICES}), seconds REAL NOT NULL, at REAL NOT NULL,
    imported INTEGER NOT NULL DEFAULT 0, undone REAL
);
CREATE UNIQUE INDEX one_vote ON votes (trial) WHERE undone IS NULL;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""


class Refused(ValueError):
    """A request that is refused, in one line for the rater."""


@dataclass(frozen=True)
class Rater:
    """One person (or simulated one); key: what the page identifies itself with."""

    id: int
    name: str
    key: str
    simulated: bool


@dataclass(frozen=True)
class Trial:
    """One question as one rater sees it: a is on the left unless flipped.

    kind: `check` has a known answer, a; `shared` ones are asked of every rater.
    """

    id: str
    rater: int
    place: int
    kind: str
    prompt: int
    a: str
    b: str
    flipped: bool

    @property
    def sides(self) -> tuple[str, str]:
        """Names of left and right."""
        return (self.b, self.a) if self.flipped else (self.a, self.b)


@dataclass(frozen=True)
class Vote:
    """A vote that stands; choice: left, right, tie or both_bad; at: seconds since 1970."""

    trial: Trial
    rater: Rater
    choice: str
    seconds: float
    at: float
    imported: bool

    @property
    def winner(self) -> str:
        """`a`, `b`, `tie` or `both_bad`, whatever the sides were."""
        if self.choice in ("left", "right"):
            return "b" if (self.choice == "left") == self.trial.flipped else "a"
        return self.choice


class VoteStore:
    """An open study. Every method is one transaction and may be called from any thread."""

    def __init__(self, path: Path, study: str, *, create: bool = True) -> None:
        """Opens or (with `create`) makes the file.

        study: identity of the pictures and texts that are compared.  Raises UsageError where the
        file is damaged, is no study's, or holds votes on other pictures; it is left as it is.
        """
        self.path, self._lock = path, threading.RLock()
        if not create and not path.is_file():
            raise UsageError(f"{path}: no such file; task=study makes it")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._base = _connect(path)
            if create:
                with alone(path):  # of two servers that begin at once one makes it
                    if self._empty():
                        self._make(study)
            self._check(study)
            self._base.execute("PRAGMA journal_mode = WAL" if create else "PRAGMA query_only = ON")
        except sqlite3.OperationalError as error:
            raise UsageError(f"{path}: {error}") from None
        except sqlite3.DatabaseError as error:
            raise UsageError(
                f"{path}: is damaged ({error}); nothing was changed; put a copy of it back, or "
                "move it away to begin anew"
            ) from None

    def close(self) -> None:
        """End the connection; the file is whole at any time."""
        with self._lock:
            self._base.close()

    def about(self, name: str) -> str | None:
        """A remark on the study."""
        with self._lock:
            row = self._base.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def note(self, name: str, value: str) -> None:
        """Keep a remark about the study."""
        with self.change() as base:
            base.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    @property
    def secret(self) -> str:
        """The key of hidden names."""
        found = self.about("secret")
        assert found is not None
        return found

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, all or nothing; one inside another belongs to the outer one."""
        with self._lock:
            if self._base.in_transaction:
                yield self._base
                return
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def rater(self, name: str, *, simulated: bool = False) -> Rater:
        """The rater of a name, entered where it is new; “ana” is “Ana”, who may be at a phone that
        writes names large. Raises Refused for a name that is none."""
        clean = clean_name(name)
        if not simulated and clean.lower().startswith(SIMULATED):
            raise Refused(f"“{SIMULATED}” marks simulated raters; choose another name")
        with self.change() as base:
            rows = base.execute(f"SELECT {_RATER} FROM raters ORDER BY id").fetchall()
            same = [row for row in rows if row[1].casefold() == clean.casefold()]
            if same:
                return _rater(same[0])
            key = secrets.token_urlsafe(18)
            made = base.execute(
                "INSERT INTO raters (name, key, simulated, made) VALUES (?, ?, ?, ?)",
                (clean, key, int(simulated), time.time()),
            )
            assert made.lastrowid is not None
            return Rater(made.lastrowid, clean, key, simulated)

    def known(self, key: str) -> Rater:
        """The rater of a key. Raises Refused."""
        with self._lock:
            row = self._base.execute(
                f"SELECT {_RATER} FROM raters WHERE key = ?", (key,)
            ).fetchone()
        if row is None:
            raise Refused("this rater is not known here; enter your name again")
        return _rater(row)

    def trials(self, rater: Rater) -> list[Trial]:
        """All that a rater was asked, in order."""
        with self._lock:
            rows = self._base.execute(
                f"SELECT {_TRIAL} FROM trials WHERE rater = ? ORDER BY place", (rater.id,)
            ).fetchall()
        return [_trial(row) for row in rows]

    def trial(self, name: str) -> Trial:
        """A question by its name. Raises Refused for an unknown one."""
        with self._lock:
            row = self._base.execute(
                f"SELECT {_TRIAL} FROM trials WHERE id = ?", (name,)
            ).fetchone()
        if row is None:
            raise Refused("there is no such pair in this study")
        return _trial(row)

    def ask(
        self, rater: Rater, kind: str, prompt: int, a: str, b: str, flipped: bool, place: int
    ) -> Trial:
        """Enter a question. Raises sqlite3.IntegrityError where this rater has it already."""
        trial = Trial(secrets.token_hex(16), rater.id, place, kind, prompt, a, b, flipped)
        with self.change() as base:
            base.execute(
                "INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (trial.id, rater.id, place, kind, prompt, a, b, int(flipped), time.time()),
            )
        return trial

    def vote(
        self, rater: Rater, trial: str, choice: str, seconds: float,
        *, at: float | None = None, imported: bool = False,
    ) -> bool:  # fmt: skip
        """Enter a vote; False if the same vote is there already.

        Raises Refused: unknown choice or pair, another rater's pair, or another vote stands.
        """
        if choice not in CHOICES:
            raise Refused(f"a vote is one of {', '.join(CHOICES)}")
        with self.change() as base:
            if self.trial(trial).rater != rater.id:
                raise Refused("there is no such pair in this study")
            row = base.execute(
                "SELECT choice FROM votes WHERE trial = ? AND undone IS NULL", (trial,)
            ).fetchone()
            if row is not None and row[0] != choice:
                raise Refused("this pair has another vote already; undo that one first")
            if row is not None:
                return False
            base.execute(
                "INSERT INTO votes (trial, choice, seconds, at, imported) VALUES (?, ?, ?, ?, ?)",
                (trial, choice, seconds, time.time() if at is None else at, int(imported)),
            )
        return True

    def undo(self, rater: Rater, trial: str | None = None) -> Trial | None:
        """Take back the rater's last vote, or that on one question; None where there is none."""
        with self.change() as base:
            row = base.execute(
                "SELECT v.id, v.trial FROM votes v JOIN trials t ON t.id = v.trial WHERE "
                "t.rater = ? AND v.undone IS NULL AND (? IS NULL OR t.id = ?) "
                "ORDER BY v.id DESC LIMIT 1",
                (rater.id, trial, trial),
            ).fetchone()
            if row is None:
                return None
            base.execute("UPDATE votes SET undone = ? WHERE id = ?", (time.time(), row[0]))
            return self.trial(row[1])

    def votes(self, *, simulated: bool | None = None) -> list[Vote]:
        """Every vote that stands, in the order of voting; of people or simulated ones only."""
        with self._lock:
            rows = self._base.execute(
                "SELECT t.id, t.rater, t.place, t.kind, t.prompt, t.a, t.b, t.flipped, "
                "r.id, r.name, r.key, r.simulated, v.choice, v.seconds, v.at, v.imported "
                "FROM votes v JOIN trials t ON t.id = v.trial JOIN raters r ON r.id = t.rater "
                "WHERE v.undone IS NULL AND (? IS NULL OR r.simulated = ?) ORDER BY v.id",
                (simulated, simulated),
            ).fetchall()
        return [
            Vote(_trial(row[:8]), _rater(row[8:12]), row[12], row[13], row[14], bool(row[15]))
            for row in rows
        ]

    def tally(self, simulated: bool, since: float) -> list[tuple[int, str, str, int, float]]:
        """(prompt, a, b, how often asked, votes for a with ties half) of all but checks.

        A question without a vote counts, as a tie, if it was put since a time: its vote is likely
        to come.
        """
        with self._lock:
            return self._base.execute(
                "SELECT t.prompt, t.a, t.b, count(*), sum(CASE "
                "WHEN v.id IS NULL OR v.choice NOT IN ('left', 'right') THEN 0.5 "
                "WHEN (v.choice = 'left') = (t.flipped = 0) THEN 1.0 ELSE 0.0 END) "
                "FROM trials t JOIN raters r ON r.id = t.rater "
                "LEFT JOIN votes v ON v.trial = t.id AND v.undone IS NULL "
                "WHERE r.simulated = ? AND t.kind != 'check' AND (v.id IS NOT NULL OR t.made >= ?) "
                "GROUP BY t.prompt, t.a, t.b",
                (simulated, since),
            ).fetchall()

    def done(self, rater: Rater) -> set[str]:
        """The names of the questions that a rater has voted on."""
        with self._lock:
            rows = self._base.execute(
                "SELECT v.trial FROM votes v JOIN trials t ON t.id = v.trial "
                "WHERE t.rater = ? AND v.undone IS NULL",
                (rater.id,),
            ).fetchall()
        return {str(row[0]) for row in rows}

    def standing(self, trial: Trial) -> tuple[str, float] | None:
        """(choice, time) of the vote that stands on a question."""
        with self._lock:
            row = self._base.execute(
                "SELECT choice, at FROM votes WHERE trial = ? AND undone IS NULL", (trial.id,)
            ).fetchone()
        return None if row is None else (str(row[0]), float(row[1]))

    def _empty(self) -> bool:
        return not self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]

    def _make(self, study: str) -> None:
        rows = (("study", study), ("secret", secrets.token_hex(32)), ("made", str(time.time())))
        inserts = "".join(f"INSERT INTO about VALUES ('{n}', '{v}');" for n, v in rows)
        self._base.executescript(f"BEGIN;{SCHEMA}{inserts}COMMIT;")

    def _check(self, study: str) -> None:
        marks = [self._base.execute(f"PRAGMA {m}").fetchone()[0]
                 for m in ("application_id", "user_version")]  # fmt: skip
        if marks != [APPLICATION, VERSION]:
            raise UsageError(f"{self.path}: is no database of a study, or of another version")
        found = self._base.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(" ".join(str(found).split())[:120])
        if self.about("study") != study:
            raise UsageError(
                f"{self.path}: its votes belong to other pictures than the run now has; restore "
                "those, or move the file away to start again"
            )


_RATER = "id, name, key, simulated"
_TRIAL = "id, rater, place, kind, prompt, a, b, flipped"


def clean_name(name: str) -> str:
    """A rater's name, spaces made single. Raises Refused where it is empty, long or unprintable."""
    clean = " ".join(unicodedata.normalize("NFC", name).split())
    if not clean or len(clean) > LONGEST_NAME or not clean.isprintable():
        raise Refused(f"a name has 1 to {LONGEST_NAME} printable characters")
    return clean


def _connect(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    base.execute("PRAGMA synchronous = FULL")
    base.execute("PRAGMA foreign_keys = ON")
    return base


def _rater(row: tuple[int, str, str, int]) -> Rater:
    return Rater(row[0], row[1], row[2], bool(row[3]))


def _trial(row: tuple[str, int, int, str, int, str, str, int]) -> Trial:
    return Trial(*row[:7], bool(row[7]))
