"""Checks folders of pictures made elsewhere against the prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import UsageError, listed
from bench.results.pictures import numbered_pictures, read_picture, unread_pictures


def check_pictures(
    found: Mapping[int, Path], indices: Sequence[int], seeds: Sequence[int], size: int
) -> None:
    """Refuse a contestant's pictures one of which cannot be read. Raises UsageError."""
    folder = next(iter(found.values())).parent
    if len(seeds) > 1:
        raise UsageError(f"images={folder}: a folder has one image per prompt, so give one seed")
    for index in indices:
        read_picture(found[index], size)


def complete(folder: Path, indices: Sequence[int]) -> dict[int, Path]:
    """The pictures of a folder by number, none of them read.

    Raises UsageError where one of `indices` is missing, or two are of one number.
    """
    found = numbered_pictures(folder)
    absent = [index for index in indices if index not in found]
    if not absent:
        return found
    hint = ""
    if absent == [0] and len(indices) in found:
        hint = "; is it numbered from 1? The first prompt's picture is 00000"
    raise UsageError(
        f"images={folder}: {len(absent)} of {len(indices)} images are missing: "
        f"{listed([f'{index:05d}' for index in absent])} (.png, .jpg, .jpeg or .webp){hint}"
    )


def left_over(
    folder: Path, found: Mapping[int, Path], indices: Sequence[int], *, are_all: bool
) -> list[str]:
    """Notes on files of a folder that belong to no prompt, or are not read as pictures.

    are_all: `indices` are all prompts of the set, so a picture beyond them belongs to none and
    raises UsageError.
    """
    asked = set(indices)
    surplus = [path.name for index, path in found.items() if index not in asked]
    if surplus and are_all:
        raise UsageError(
            f"images={folder}: {len(surplus)} pictures belong to none of the {len(asked)} prompts: "
            f"{listed(surplus)}; if the others are right: prompts.n={len(asked)}"
        )
    notes = []
    if surplus:
        notes.append(f"{len(surplus)} pictures beyond the prompts are not scored: "
                     f"{listed(surplus)}")  # fmt: skip
    unread = unread_pictures(folder)
    if unread:
        notes.append(f"{len(unread)} pictures have no prompt's name (00000.png, .jpg, .jpeg, "
                     f".webp) and are not read: {listed(unread)}")  # fmt: skip
    return notes
