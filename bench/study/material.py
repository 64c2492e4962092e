"""The material of a study: a finished run's contestants, prompts and pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.results.run_folder import RunFolder
from bench.statistics.comparisons import pairs
from bench.study.choose import Item
from hypersd.hashes import digest

FOLDER = "study"  # inside the run folder
QUESTION = "Which picture do you prefer for this text?"
MOST_PROMPTS = 200  # more would be asked about too seldom, and make a static copy large
CHECK_SOURCES = ("real", "vae_round_trip")  # whose pictures attention checks show, best first


@dataclass(frozen=True)
class Material:
    """A run as a study sees it.

    contestants: names of those that compete, in the result's order; a contestant's number is its
    place here.  pairs: by number, a < b.  prompts: text by index, those that a pair has pictures
    of.  files: picture by (contestant, prompt index), anchors included.  not_kept: a sentence where
    the run did not keep all pictures.
    """

    run: Path
    title: str
    contestants: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    prompts: dict[int, str]
    files: dict[tuple[str, int], Path]
    not_kept: str = ""

    @property
    def database(self) -> Path:
        """The path of the votes."""
        return self.run / FOLDER / "votes.sqlite3"

    @cached_property
    def identity(self) -> str:
        """A hash of what is compared: contestants, texts and the pictures themselves."""
        pictures = [
            [name, index, hashlib.sha256(path.read_bytes()).hexdigest()]
            for (name, index), path in sorted(self.files.items())
        ]
        return digest([QUESTION, self.contestants, self.pairs, self.prompts, pictures])

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """Every question that can be asked."""
        names = self.contestants
        return tuple(
            Item(index, a, b)
            for index in sorted(self.prompts)
            for a, b in self.pairs
            if (names[a], index) in self.files and (names[b], index) in self.files
        )

    @cached_property
    def compared(self) -> NDArray[np.bool_]:
        """[K, K]: whether row and column (row < column) are a pair."""
        table = np.zeros((len(self.contestants),) * 2, np.bool_)
        for a, b in self.pairs:
            table[a, b] = True
        return table

    @cached_property
    def check_source(self) -> str:
        """The contestant whose pictures attention checks show: the best one."""
        there = {name for name, _ in self.files}
        teachers = [name for name in self.contestants if name.startswith("teacher")]
        order = [*CHECK_SOURCES, *teachers, *self.contestants]
        return next(name for name in order if name in there)

    @cached_property
    def check_prompts(self) -> tuple[int, ...]:
        """Prompts that an attention check can use."""
        return tuple(i for i in sorted(self.prompts) if (self.check_source, i) in self.files)


def read(run: Path) -> Material:
    """The material of a finished run's study.

    Raises UsageError: no finished run, a contestant whose name leads out of the run's folder of
    images, a damaged prompts.jsonl, or no two contestants with pictures of the same prompt.
    """
    folder = RunFolder(run)
    found = folder.summary
    for contestant in found.contestants:
        if Path(contestant.name).name != contestant.name:
            raise UsageError(f"{run}/result.json: {contestant.name!r} is no name of a contestant")
    texts = folder.texts
    files = {
        (c.name, index): path
        for c in found.contestants
        for index, path in folder.pictures(c.name).items()
        if index in texts
    }
    seen = {name for name, _ in files}
    rivals = [c for c in found.contestants if c.name in seen and not c.is_anchor]
    names = [c.name for c in rivals]
    chosen = [(names.index(a), names.index(b)) for a, b in pairs(rivals)]
    if not _connected(len(names), chosen):
        chosen = list(combinations(range(len(names)), 2))
    both = sorted({(min(pair), max(pair)) for pair in chosen})
    prompts = _prompts(texts, names, both, files)
    if not prompts:
        there = ", ".join(sorted(seen)) or "none"
        raise UsageError(
            f"run={run}: a study needs pictures of two contestants for one prompt in {run}/images; "
            f"it has pictures of {there}{folder.not_kept and '. '}{folder.not_kept}"
        )
    files = {key: path for key, path in files.items() if key[1] in prompts}
    title = found.title or found.suite
    return Material(run, title, tuple(names), tuple(both), prompts, files, folder.not_kept)


def _prompts(
    texts: Mapping[int, str], names: list[str], pairs: list[tuple[int, int]],
    files: dict[tuple[str, int], Path],
) -> dict[int, str]:  # fmt: skip
    """The first prompts of the set, those that most pairs have pictures of before all others."""
    there = {
        index: sum((names[a], index) in files and (names[b], index) in files for a, b in pairs)
        for index in texts
    }
    ranked = sorted((index for index in texts if there[index]), key=lambda i: (-there[i], i))
    return {index: texts[index] for index in sorted(ranked[:MOST_PROMPTS])}


def _connected(count: int, pairs: list[tuple[int, int]]) -> bool:
    """Whether the pairs join all contestants, so that strengths can be compared."""
    reached = {0}
    for _ in range(count):
        reached |= {x for pair in pairs if reached & set(pair) for x in pair}
    return len(reached) == max(1, count)
