"""Hands out a rater's questions: mostly the least certain pair, sometimes a shared one or a
check."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from bench.study.choose import Item, next_item
from bench.study.material import Material
from bench.study.pictures import SPOILED, hidden
from bench.study.store import Rater, Trial, VoteStore

BLOCK = 10  # of so many questions in a row, at places drawn at random,
CHECKS, SHARED = 1, 2  # this many are checks, and this many are asked of every rater
AHEAD = 3  # questions whose pictures are fetched before they are needed
PENDING = 600.0  # seconds for which a question without a vote counts as asked


def kinds(secret: str, who: object, block: int) -> list[str]:
    """The kinds of the questions of one block, in order; the same at every call."""
    order = _rng(secret, "block", who, block).permutation(BLOCK)
    found = ["chosen"] * BLOCK
    for place in order[:CHECKS]:
        found[place] = "check"
    for place in order[CHECKS : CHECKS + SHARED]:
        found[place] = "shared"
    return found


def shared_order(items: Sequence[Item], secret: str) -> list[Item]:
    """All questions in the order in which raters share them: shuffled, pair after pair in turn."""
    order = _rng(secret, "shared").permutation(len(items))
    rounds: dict[tuple[int, int], int] = defaultdict(int)
    ranked: list[tuple[int, int, Item]] = []
    for i in order:
        item = items[i]
        ranked.append((rounds[item.a, item.b], len(ranked), item))
        rounds[item.a, item.b] += 1
    return [item for *_, item in sorted(ranked, key=lambda entry: entry[:2])]


def _rng(secret: str, *words: object) -> np.random.Generator:
    return np.random.default_rng(int(hidden(secret, *words), 16))


class Desk:
    """Hands out questions."""

    def __init__(self, material: Material, store: VoteStore) -> None:
        self.material, self.store = material, store

    @property
    def total(self) -> int:
        """How many different questions there are, checks left out."""
        return len(self.material.items)

    def queue(self, rater: Rater, length: int = AHEAD) -> list[Trial]:
        """The rater's next questions, oldest first; fewer, or none, if all have been asked."""
        with self.store.change():
            asked, done = self.store.trials(rater), self.store.done(rater)
            waiting = [trial for trial in asked if trial.id not in done]
            while len(waiting) < length:
                trial = self._ask(rater, asked)
                if trial is None:
                    break
                asked.append(trial)
                waiting.append(trial)
        return waiting[:length]

    def _ask(self, rater: Rater, asked: list[Trial]) -> Trial | None:
        place = asked[-1].place + 1 if asked else 0
        kind = kinds(self.store.secret, rater.id, place // BLOCK)[place % BLOCK]
        flipped = bool(np.random.default_rng().integers(2))
        prompts = {trial.prompt for trial in asked if trial.kind == "check"}
        left = [i for i in self.material.check_prompts if i not in prompts]
        if kind == "check" and left:
            rng = _rng(self.store.secret, "check", rater.id, place)
            source, prompt = self.material.check_source, int(rng.choice(left))
            return self.store.ask(rater, kind, prompt, source, SPOILED, flipped, place)
        item = self._item(rater, kind, asked)
        if item is None:
            return None
        kind = "shared" if kind == "shared" else "chosen"
        a, b = self.material.contestants[item.a], self.material.contestants[item.b]
        return self.store.ask(rater, kind, item.prompt, a, b, flipped, place)

    def _item(self, rater: Rater, kind: str, asked: list[Trial]) -> Item | None:
        names = self.material.contestants
        had = {(t.prompt, t.a, t.b) for t in asked}
        if kind == "shared":
            for item in self._shared:
                if (item.prompt, names[item.a], names[item.b]) not in had:
                    return item
        left = [i for i in self.material.items if (i.prompt, names[i.a], names[i.b]) not in had]
        number = {name: i for i, name in enumerate(names)}
        wins = np.zeros((len(names), len(names)))
        seen: dict[Item, int] = {}
        for prompt, a, b, count, won in self.store.tally(rater.simulated, time.time() - PENDING):
            i, j = number[a], number[b]
            seen[Item(prompt, i, j)] = count
            wins[i, j] += won
            wins[j, i] += count - won
        return next_item(left, seen, wins, self.material.compared, np.random.default_rng())

    @cached_property
    def _shared(self) -> list[Item]:
        return shared_order(self.material.items, self.store.secret)
