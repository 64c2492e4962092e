"""A static copy of the page for raters who cannot reach the server, and the import of their
votes."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError, os_words
from bench.study.choose import Item
from bench.study.desk import BLOCK, kinds, shared_order
from bench.study.material import QUESTION, Material
from bench.study.pictures import SPOILED, Album, hidden
from bench.study.server import LONGEST, PAGE, POLICY
from bench.study.store import CHOICES, Rater, Refused, VoteStore
from hypersd.whole_files import folder_written_whole

FORMAT = "few-step-bench study votes"
VERSION = 1
DECKS = 12  # orders of questions; a rater's name decides which one is used
MOST_BYTES = 8_000_000  # of one file with votes
LATEST = 4e9  # seconds since 1970 that a vote may claim


@dataclass(frozen=True)
class Pair:
    """A question of the static copy. id, left, right: hidden names; the page may swap the sides."""

    id: str
    kind: str
    prompt: int
    a: str
    b: str
    left: str
    right: str


class Copy:
    """The questions of the static copies of one study, which its secret decides."""

    def __init__(self, material: Material, album: Album) -> None:
        self.material, self.album = material, album
        self.secret = album.secret
        self.study = hidden(self.secret, "study", material.identity)
        names = material.contestants
        plain = [self._pair("chosen", i.prompt, names[i.a], names[i.b]) for i in material.items]
        source = material.check_source
        checks = [self._pair("check", p, source, SPOILED) for p in material.check_prompts]
        self.pairs = {pair.id: pair for pair in sorted(plain + checks, key=lambda pair: pair.id)}

    def _pair(self, kind: str, prompt: int, a: str, b: str) -> Pair:
        name = hidden(self.secret, "pair", prompt, a, b)
        sides = [self.album.name(a, prompt), self.album.name(b, prompt)]
        swapped = int(name, 16) % 2 == 1
        left, right = reversed(sides) if swapped else sides
        return Pair(name, kind, prompt, a, b, left, right)

    def decks(self, length: int) -> list[list[str]]:
        """Orders of at most `length` questions, with checks and shared ones as the server mixes
        them; the others are used evenly over all decks."""
        used: Counter[str] = Counter()
        return [self._deck(number, length, used) for number in range(DECKS)]

    def _deck(self, number: int, length: int, used: Counter[str]) -> list[str]:
        rng = np.random.default_rng(int(hidden(self.secret, "deck", number), 16))
        plain = [pair.id for pair in self.pairs.values() if pair.kind != "check"]
        checks = [pair.id for pair in self.pairs.values() if pair.kind == "check"]
        shared = [self._name(item) for item in shared_order(self.material.items, self.secret)]
        heap = {"check": list(rng.permutation(checks)), "shared": shared}
        deck: dict[str, None] = {}
        while len(deck) < min(length, len(plain)):
            kind = kinds(self.secret, f"deck {number}", len(deck) // BLOCK)[len(deck) % BLOCK]
            left = [name for name in heap.get(kind, []) if name not in deck]
            if not left:
                fresh = [plain[i] for i in rng.permutation(len(plain)) if plain[i] not in deck]
                if not fresh:
                    break
                left = [min(fresh, key=lambda name: used[name])]
            deck[str(left[0])] = None
            used[str(left[0])] += 1
        return list(deck)

    def _name(self, item: Item) -> str:
        names = self.material.contestants
        return hidden(self.secret, "pair", item.prompt, names[item.a], names[item.b])


def export(copy: Copy, folder: Path, target: int) -> None:
    """Write the page, its data and the pictures into a new folder. Raises UsageError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"export={folder}: is not empty; name a new folder")
    try:
        with folder_written_whole(folder.absolute()) as beside:
            _fill(beside, copy, target)
    except OSError as error:
        raise UsageError(f"export={folder}: {os_words(error)}") from None


def _fill(folder: Path, copy: Copy, target: int) -> None:
    (folder / "picture").mkdir()
    for name in sorted({n for pair in copy.pairs.values() for n in (pair.left, pair.right)}):
        shutil.copyfile(copy.album.folder / f"{name}.png", folder / "picture" / f"{name}.png")
    for name in ("study.js", "study.css"):
        shutil.copyfile(PAGE / name, folder / name)
    text = json.dumps(_data(copy, target), ensure_ascii=True)
    (folder / "data.js").write_text(f"window.STUDY = {text};\n", encoding="utf-8")
    (folder / "index.html").write_text(_page(), encoding="utf-8")


def _page() -> str:
    """The server's page with its policy inside and the data before the script."""
    policy = POLICY.replace("; frame-ancestors 'none'", "")
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    html = html.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{meta}')
    script = '<script src="study.js" defer></script>'
    assert script in html
    return html.replace(script, f'<script src="data.js" defer></script>\n{script}')


def _data(copy: Copy, target: int) -> dict[str, Any]:
    names = list(copy.pairs)
    number = {name: i for i, name in enumerate(names)}
    return {
        "format": FORMAT,
        "version": VERSION,
        "study": copy.study,
        "question": QUESTION,
        "target": target,
        "pairs": [
            {"id": p.id, "prompt": copy.material.prompts[p.prompt], "left": p.left,
             "right": p.right} for p in copy.pairs.values()
        ],
        "decks": [[number[name] for name in deck] for deck in copy.decks(5 * target)],
    }  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """The result of an import: new votes, known votes, names of raters."""

    entered: int
    known: int
    raters: tuple[str, ...]


def bring_in(copy: Copy, store: VoteStore, source: Path) -> Imported:
    """Enter the votes of a JSON file, or of every *.json in a folder: all of them, or none.

    Raises UsageError with file and place of the first fault.
    """
    paths = sorted(source.glob("*.json")) if source.is_dir() else [source]
    if not paths:
        raise UsageError(f"import={source}: holds no .json file")
    counts, raters = [0, 0], []
    with store.change():
        for path in paths:
            name, votes = _read(copy, path)
            try:
                rater = store.rater(name)
            except Refused as error:
                raise UsageError(f"import={path}: rater: {error}") from None
            raters.append(rater.name)
            for vote in votes:
                counts[_enter(store, rater, vote)] += 1
    return Imported(counts[1], counts[0], tuple(dict.fromkeys(raters)))


@dataclass(frozen=True)
class _Vote:
    pair: Pair
    flipped: bool
    choice: str
    seconds: float
    at: float


def _enter(store: VoteStore, rater: Rater, vote: _Vote) -> bool:
    """Whether the vote is new; one that the rater changed since replaces the older one."""
    pair, asked = vote.pair, store.trials(rater)
    same = (t for t in asked if (t.prompt, t.a, t.b) == (pair.prompt, pair.a, pair.b))
    trial = next(same, None)
    if trial is None:
        place = asked[-1].place + 1 if asked else 0
        trial = store.ask(rater, pair.kind, pair.prompt, pair.a, pair.b, vote.flipped, place)
    swap = {"left": "right", "right": "left"} if trial.flipped != vote.flipped else {}
    choice = swap.get(vote.choice, vote.choice)
    standing = store.standing(trial)
    if standing is not None:
        if standing[0] == choice or standing[1] >= vote.at:
            return False
        store.undo(rater, trial.id)
    return store.vote(rater, trial.id, choice, vote.seconds, at=vote.at, imported=True)


def _read(copy: Copy, path: Path) -> tuple[str, list[_Vote]]:
    where = f"import={path}"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{where}: is larger than {MOST_BYTES} bytes")
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{where}: {os_words(error)}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{where}: is no JSON file") from None
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise UsageError(f"{where}: is no file of votes that the study's page has saved")
    if body.get("version") != VERSION:
        raise UsageError(f"{where}: has version {body.get('version')!r:.20}, expected {VERSION}")
    if body.get("study") != copy.study:
        raise UsageError(f"{where}: belongs to another study")
    if not isinstance(body.get("rater"), str) or not isinstance(body.get("votes"), list):
        raise UsageError(f"{where}: 'rater' must be a text and 'votes' a list")
    votes = [_vote(copy, f"{where}: vote {i}", v) for i, v in enumerate(body["votes"], 1)]
    twice = [n for n, count in Counter(vote.pair.id for vote in votes).items() if count > 1]
    if twice:
        raise UsageError(f"{where}: has two votes on pair {twice[0]}")
    return body["rater"], votes


def _vote(copy: Copy, where: str, value: Any) -> _Vote:
    if not isinstance(value, dict):
        raise UsageError(f"{where} is not an object")
    pair = copy.pairs.get(value["pair"]) if isinstance(value.get("pair"), str) else None
    if pair is None:
        raise UsageError(f"{where} is on an unknown pair")
    sides = (value.get("left"), value.get("right"))
    if sides not in ((pair.left, pair.right), (pair.right, pair.left)):
        raise UsageError(f"{where} names other pictures than its pair has")
    if value.get("choice") not in CHOICES:
        raise UsageError(f"{where}: 'choice' must be one of {', '.join(CHOICES)}")
    seconds, at = (_number(where, value, n, m) for n, m in (("seconds", LONGEST), ("at", LATEST)))
    flipped = copy.album.name(pair.a, pair.prompt) != sides[0]
    return _Vote(pair, flipped, value["choice"], seconds, at)


def _number(where: str, value: dict[str, Any], name: str, most: float) -> float:
    found = value.get(name)
    if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found <= most:
        return float(found)
    raise UsageError(f"{where}: {name!r} must be a number from 0 to {most:g}")
