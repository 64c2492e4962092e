"""The static copy, and what comes back from it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.study.desk import Desk
from bench.study.offline import DECKS, FORMAT, Copy, bring_in, export
from bench.study.pictures import Album
from bench.study.store import VoteStore


@pytest.fixture
def copy(desk: Desk, album: Album) -> Copy:
    return Copy(desk.material, album)


def data(folder: Path) -> dict[str, Any]:
    """What the page of a static copy knows."""
    text = (folder / "data.js").read_text(encoding="utf-8")
    return dict(json.loads(text.removeprefix("window.STUDY = ").rstrip(";\n")))


def file(copy: Copy, path: Path, **changes: Any) -> Path:
    """A file of votes as the page saves it: left on three pairs."""
    pairs = list(copy.pairs.values())[:3]
    votes = [{"pair": p.id, "left": p.left, "right": p.right, "choice": "left", "seconds": 2.5,
              "at": 1.8e9 + i} for i, p in enumerate(pairs)]  # fmt: skip
    body = {"format": FORMAT, "version": 1, "study": copy.study, "rater": "Ana", "votes": votes}
    path.write_text(json.dumps(body | changes), encoding="utf-8")
    return path


def test_a_static_copy_betrays_nothing(copy: Copy, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    export(copy, folder, 20)
    files = [p for p in folder.rglob("*") if p.is_file()]
    pictures = [p for p in files if p.suffix == ".png"]
    assert len(pictures) == 8 * (4 + 2)  # four contestants, a check's two sides
    assert len({p.stat().st_size for p in pictures}) == 1
    text = "".join(p.read_text(encoding="utf-8") for p in (folder / "data.js",))
    assert not re.search(r"lcm|tcd|teacher|real|spoiled|check", text)
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert "Content-Security-Policy" in html and html.index("data.js") < html.index("study.js")
    with pytest.raises(UsageError, match="not empty"):
        export(copy, folder, 20)


def test_decks_hold_every_question_once_and_use_them_evenly(copy: Copy, tmp_path: Path) -> None:
    export(copy, tmp_path / "copy", 4)
    decks = data(tmp_path / "copy")["decks"]
    assert len(decks) == DECKS
    names = list(copy.pairs)
    counts = dict.fromkeys(names, 0)
    for deck in decks:
        assert len(set(deck)) == len(deck) == 20
        kinds = [copy.pairs[names[i]].kind for i in deck]
        assert kinds[:10].count("check") == kinds[10:].count("check") == 1
        for i in deck:
            counts[names[i]] += 1
    plain = [n for name, n in counts.items() if copy.pairs[name].kind != "check"]
    assert min(plain) >= 2  # 12 decks x 14 questions that are chosen for evenness, 48 questions


def test_votes_come_back_once(copy: Copy, store: VoteStore, tmp_path: Path) -> None:
    path = file(copy, tmp_path / "a.json")
    assert bring_in(copy, store, path).entered == 3
    again = bring_in(copy, store, tmp_path)
    assert (again.entered, again.known, again.raters) == (0, 3, ("Ana",))
    votes = store.votes()
    assert len(votes) == 3 and all(v.imported and v.seconds == 2.5 for v in votes)
    for vote, pair in zip(votes, list(copy.pairs.values())[:3], strict=True):
        left = copy.album.name(vote.trial.sides[0], vote.trial.prompt)
        assert left == pair.left and vote.winner == ("b" if vote.trial.flipped else "a")


def test_a_vote_that_was_changed_since_replaces_the_older(
    copy: Copy, store: VoteStore, tmp_path: Path
) -> None:
    path = file(copy, tmp_path / "a.json")
    bring_in(copy, store, path)
    body = json.loads(path.read_text())
    body["votes"][0] |= {"choice": "tie", "at": 1.9e9}
    body["votes"][1] |= {"choice": "tie", "at": 1.0e9}  # older: stays out
    path.write_text(json.dumps(body))
    assert bring_in(copy, store, path).entered == 1
    assert sorted(v.choice for v in store.votes()) == ["left", "left", "tie"]


def test_swapped_sides_come_back_as_they_were_seen(
    copy: Copy, store: VoteStore, tmp_path: Path
) -> None:
    path = file(copy, tmp_path / "a.json")
    body = json.loads(path.read_text())
    for vote in body["votes"]:
        vote["left"], vote["right"] = vote["right"], vote["left"]
    path.write_text(json.dumps(body))
    bring_in(copy, store, path)
    for vote, pair in zip(store.votes(), list(copy.pairs.values())[:3], strict=True):
        assert copy.album.name(vote.trial.sides[0], vote.trial.prompt) == pair.right
        assert vote.choice == "left"


def _faulty(index: int, **changes: Any) -> Any:
    def change(body: dict[str, Any]) -> None:
        body["votes"][index] |= changes

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body.update(study="0" * 32), "another study"),
        (lambda body: body.update(format="x"), "no file of votes"),
        (lambda body: body.update(version=2), "version 2"),
        (lambda body: body.update(rater=3), "must be a text"),
        (lambda body: body.update(rater="simulated 01"), "marks simulated raters"),
        (lambda body: body.update(votes={}), "a list"),
        (lambda body: body["votes"].append(3), "vote 4 is not an object"),
        (lambda body: body["votes"].append(body["votes"][0]), "two votes on pair"),
        (_faulty(2, pair="nowhere"), "vote 3 is on an unknown pair"),
        (_faulty(1, left="x"), "vote 2 names other pictures"),
        (_faulty(1, choice="best"), "must be one of left, right"),
        (_faulty(1, seconds="2"), "'seconds' must be a number"),
        (_faulty(1, at=float("nan")), "'at' must be a number"),
        (_faulty(1, at=True), "'at' must be a number"),
    ],
)
def test_a_faulty_file_is_refused_whole(
    copy: Copy, store: VoteStore, tmp_path: Path, change: Any, said: str
) -> None:
    file(copy, tmp_path / "a.json", rater="Ben")
    path = file(copy, tmp_path / "b.json")
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))
    with pytest.raises(UsageError, match=said):
        bring_in(copy, store, tmp_path)
    assert store.votes() == []  # a.json is whole, but goes in with the others or not at all


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"[" * 100_000])
def test_what_is_no_file_of_votes_is_refused(
    copy: Copy, store: VoteStore, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"a\.json: is no"):
        bring_in(copy, store, tmp_path / "a.json")
