"""Prompt sets, by name or from a file, pinned by a hash of their texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.errors import UsageError, nearest
from bench.suite import prompt_files, prompt_sets

SETS = {"shapes/test": "test", "shapes/validation": "validation"}
NAMES = (*SETS, *prompt_sets.SOURCES)


@dataclass(frozen=True)
class PromptSet:
    """Texts in a fixed order.

    split: the world's split whose scene `index` prompt `index` tells of, or None for others.
    stripped: how many of the texts had white space around them.
    """

    name: str
    texts: tuple[str, ...]
    split: str | None = None
    stripped: int = 0

    @cached_property
    def revision(self) -> str:
        """sha256 of the texts, one a line; as JSON where one of them holds several lines."""
        text = "\n".join(self.texts)
        if text.count("\n") >= len(self.texts):
            text = "\n" + json.dumps(self.texts)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def notes(self) -> list[str]:
        """Notes on the texts for readers of the table, a clause each."""
        counts = {
            "repeat an earlier one": len(self.texts) - len(set(self.texts)),
            "hold a line break": sum("\n" in text or "\r" in text for text in self.texts),
            "had white space around them, which is left out": self.stripped,
        }
        n = f"{len(self.texts):,} prompts of {self.name}"
        return [f"{count:,} of {n} {words}" for words, count in counts.items() if count]


def load(name: str, n: int | None, folder: Path) -> PromptSet:
    """The first n prompts of a named set, or of a file as `prompt_files.read` reads it (all, where
    n is None), without the white space around them.

    folder: of the published sets that a user has; what is not there is fetched into it.
    Raises UsageError for an unknown set, one that cannot be had or has other texts than were
    pinned, a file that is refused, and one that has fewer than n prompts.
    """
    if name in SETS:
        return PromptSet(name, _captions(SETS[name], 1000 if n is None else n), SETS[name])
    if name in prompt_sets.SOURCES:
        return _cut(name, _published(name, folder), n)
    path = Path(name)
    if path.suffix.lower() not in prompt_files.SUFFIXES:
        raise UsageError(
            f"prompts.set={name}: no such set; {nearest(name, NAMES)}, or a file "
            f"({', '.join(prompt_files.SUFFIXES)})"
        )
    return _cut(name, prompt_files.read(path), n)


def after(prefix: str, found: PromptSet) -> PromptSet:
    """The prompts with words before each of them; no captions of the world any more."""
    if not prefix:
        return found
    texts = tuple(prefix + text for text in found.texts)
    return PromptSet(f"{found.name} after {prefix.strip()!r}", texts, stripped=found.stripped)


def _published(name: str, folder: Path) -> list[str]:
    """All of a named set. Raises UsageError where its texts are not those that were pinned."""
    source = prompt_sets.SOURCES[name]
    paths = prompt_sets.files(name, folder)
    written = [text for path in paths for text in prompt_files.read(path, quoted=source.quoted)]
    found = _cut(name, written, None)
    others = source.revision not in (None, found.revision) or len(found.texts) != source.n
    if others:
        where = ", ".join(map(str, paths))
        raise UsageError(
            f"prompts.set={name}: {where} holds {len(found.texts)} texts of revision "
            f"{found.revision}, expected {source.n} of {source.revision or 'any'}"
        )
    return written


def _cut(name: str, written: Sequence[str], n: int | None) -> PromptSet:
    if n is not None and len(written) < n:
        raise UsageError(f"prompts.n={n}: {name} has only {len(written)} prompts")
    texts = tuple(text.strip() for text in written[:n])
    return PromptSet(name, texts, stripped=sum(map(str.__ne__, texts, written)))


def _captions(split: str, n: int) -> tuple[str, ...]:
    from hypersd.shapes.captions import caption
    from hypersd.shapes.scenes import sample_scene

    return tuple(caption(sample_scene(split, index)) for index in range(n))
