"""Votes on disk: each once, none lost by a kill, nothing taken from a damaged or foreign file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.study.desk import BLOCK, Desk, kinds
from bench.study.material import Material
from bench.study.pictures import SPOILED
from bench.study.store import Refused, VoteStore


def test_a_vote_counts_once_and_an_undone_one_stays_in_the_file(
    desk: Desk, store: VoteStore
) -> None:
    ana = store.rater("Ana")
    trial = desk.queue(ana)[0]
    assert store.vote(ana, trial.id, "left", 1.5) is True
    assert store.vote(ana, trial.id, "left", 1.5) is False
    with pytest.raises(Refused, match="undo that one first"):
        store.vote(ana, trial.id, "right", 1.0)
    assert store.undo(ana) == trial
    assert desk.queue(ana)[0] == trial  # comes again, sides as they were
    store.vote(ana, trial.id, "tie", 2.0)
    assert [v.choice for v in store.votes()] == ["tie"]
    with sqlite3.connect(store.path) as base:
        rows = base.execute("SELECT choice, undone IS NULL FROM votes ORDER BY id").fetchall()
    assert rows == [("left", 0), ("tie", 1)]


def test_nobody_votes_for_another_or_on_an_unknown_pair(desk: Desk, store: VoteStore) -> None:
    ana, ben = store.rater("Ana"), store.rater("Ben")
    trial = desk.queue(ana)[0]
    for rater, pair, choice in ((ben, trial.id, "left"), (ana, "nowhere", "left"),
                                (ana, trial.id, "best")):  # fmt: skip
        with pytest.raises(Refused):
            store.vote(rater, pair, choice, 1.0)
    assert store.votes() == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 41, "a\x00b", "simulated 01", "Simulated me"])
def test_a_name_that_is_none_is_refused(store: VoteStore, name: str) -> None:
    with pytest.raises(Refused):
        store.rater(name)


def test_the_same_name_is_the_same_rater(store: VoteStore) -> None:
    assert store.rater(" Ana  Lu ") == store.rater("Ana Lu") == store.rater("ANA lu")
    assert store.known(store.rater("Ana").key).name == "Ana"


def test_a_rater_is_asked_everything_once_with_checks_and_shared_ones(
    desk: Desk, store: VoteStore, material: Material
) -> None:
    ana, asked = store.rater("Ana"), []
    while queue := desk.queue(ana, 1):
        asked.append(queue[0])
        store.vote(ana, queue[0].id, "left", 1.0)
    plain = [t for t in asked if t.kind != "check"]
    assert len(plain) == len(material.items) == 8 * 6
    assert len({(t.prompt, t.a, t.b) for t in asked}) == len(asked)
    checks = [t for t in asked if t.kind == "check"]
    assert {(t.a, t.b) for t in checks} == {("real", SPOILED)}
    for block in range(4):
        part = asked[block * BLOCK : (block + 1) * BLOCK]
        assert [t.kind for t in part] == kinds(store.secret, ana.id, block)
        assert [t.kind for t in part].count("check") == 1
    flips = sum(t.flipped for t in asked)
    assert 10 < flips < len(asked) - 10


def test_raters_share_questions(desk: Desk, store: VoteStore) -> None:
    sets = []
    for name in ("Ana", "Ben", "Cid"):
        rater = store.rater(name)
        for _ in range(20):
            store.vote(rater, desk.queue(rater, 1)[0].id, "left", 1.0)
        sets.append({(t.prompt, t.a, t.b) for t in store.trials(rater) if t.kind != "check"})
    assert len(sets[0] & sets[1] & sets[2]) >= 2


def test_threads_lose_and_double_nothing(desk: Desk, store: VoteStore) -> None:
    def work(name: str) -> list[tuple[str, str]]:
        rater, sent = store.rater(name), []
        for i in range(6):
            trial, choice = desk.queue(rater)[0], ("left", "right", "tie")[i % 3]
            store.vote(rater, trial.id, choice, 1.0)
            store.vote(rater, trial.id, choice, 1.0)
            sent.append((trial.id, choice))
        return sent

    with ThreadPoolExecutor(8) as pool:
        sent = [vote for votes in pool.map(work, map(str, range(8))) for vote in votes]
    assert sorted((v.trial.id, v.choice) for v in store.votes()) == sorted(sent)


KILLED = """
import os, signal, sys
from pathlib import Path
from bench.study import material
from bench.study.desk import Desk
from bench.study.store import VoteStore
found = material.read(Path(sys.argv[1]))
store = VoteStore(found.database, found.identity)
rater, desk = store.rater("Ana"), Desk(found, store)
for _ in range(7):
    store.vote(rater, desk.queue(rater)[0].id, "right", 1.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_kill_loses_no_vote(run: Path, material: Material) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(run)], check=False)
    assert done.returncode == -signal.SIGKILL
    again = VoteStore(material.database, material.identity)
    assert len(again.votes()) == 7
    again.close()


def test_a_damaged_file_is_refused_and_left_as_it_is(
    material: Material, desk: Desk, store: VoteStore
) -> None:
    rater = store.rater("Ana")
    for _ in range(5):
        store.vote(rater, desk.queue(rater)[0].id, "left", 1.0)
    store.close()
    whole = material.database.read_bytes()
    for damaged in (b"no database at all" * 400, whole[:4096] + bytes(2000) + whole[6096:],
                    whole[: len(whole) // 2]):  # fmt: skip
        material.database.write_bytes(damaged)
        with pytest.raises(UsageError, match="damaged"):
            VoteStore(material.database, material.identity)
        assert material.database.read_bytes() == damaged
    material.database.write_bytes(whole)
    again = VoteStore(material.database, material.identity)
    assert len(again.votes()) == 5
    again.close()


def test_a_foreign_file_is_refused(material: Material, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite3"
    with sqlite3.connect(other) as base:
        base.execute("CREATE TABLE x (y)")
    before = other.read_bytes()
    with pytest.raises(UsageError, match="no database of a study"):
        VoteStore(other, material.identity)
    assert other.read_bytes() == before
    VoteStore(material.database, material.identity).close()
    with pytest.raises(UsageError, match="other pictures"):
        VoteStore(material.database, "another study")
